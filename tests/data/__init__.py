"""Tests of igan.data, and the small data sets they are run on."""
