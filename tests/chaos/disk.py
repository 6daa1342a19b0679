"""A small disk of its own for a run, which can be filled up and can fail, where this user may mount one."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

MEGABYTES = 48


class Disk:
    """An ext4 file system in a file. Raises OSError, with the reason, where none can be made."""

    def __init__(self, place: Path) -> None:
        self._image, self.folder = place / "disk.img", place / "disk"
        self.folder.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(MEGABYTES << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))  # Nothing is kept back for root.
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))

    def fill(self, left: int) -> None:
        """Leaves so many bytes."""
        room = shutil.disk_usage(self.folder).free - left
        with (self.folder / "filler").open("wb") as file:
            while room > 0:  # The run writes meanwhile, and the file system wants some blocks for itself.
                try:
                    os.posix_fallocate(file.fileno(), 0, room)
                    break
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    room -= 4096

    def make_room(self) -> None:
        (self.folder / "filler").unlink()

    def fail(self) -> None:
        """Does what the kernel does when a disk fails: whatever is open, nothing can be written any more."""
        device = Path(_run("findmnt", "-n", "-o", "SOURCE", str(self.folder))).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def repair(self) -> None:
        self.close()
        subprocess.run(["e2fsck", "-f", "-y", str(self._image)], capture_output=True, check=False)
        self._mount()

    def close(self) -> None:
        _run("umount", str(self.folder))


def _run(*command: str) -> str:
    found = shutil.which(command[0])
    if not found or os.geteuid():
        raise OSError(f"{command[0]} is not there, or not for this user")
    done = subprocess.run([found, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
