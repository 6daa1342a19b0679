"""Human evaluation: people see images and say which are real (Salimans et al. 2016, section 6).

    python -m igan.annotation serve --real=tfds:cifar10/test --generated=runs/cifar10 --study=cifar10.db

A study is one SQLite file with everything in it: options, images, people, questions and answers. It is served by one
process, `igan.annotation.serve`, and read by `igan.annotation.study.open`. Needs the extra `annotation`:
pip install -e ".[annotation]"
"""
