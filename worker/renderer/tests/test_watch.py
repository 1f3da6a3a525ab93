"""What is seen of files that have no name any more."""

import ctypes
import mmap
import os
import tempfile
import unittest
from types import ModuleType
from unittest import mock

from manimq_renderer import folders, walls, watch

_SIZE = 2**20
_libc = ctypes.CDLL(None)
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Nameless(unittest.TestCase):
    def setUp(self) -> None:
        area = tempfile.TemporaryDirectory()
        self.addCleanup(area.cleanup)
        self.folder = area.name
        self._patch(walls, "_area", area.name)
        # The helper is this process: what the tests before have written is not its own.
        self._patch(watch, "_written", lambda _: 0)

    def _patch(self, module: ModuleType, name: str, value: object) -> None:
        patch = mock.patch.object(module, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def _unlinked(self, name: str = "x") -> int:
        path = f"{self.folder}/{name}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.unlink(path)
        os.write(fd, bytes(_SIZE))
        return fd

    def test_files_that_are_open_or_only_mapped_count_once_each(self) -> None:
        own = os.getpid()
        self.assertEqual(watch._nameless(own, 2 * _SIZE), 0)
        fd = self._unlinked()
        self.assertEqual(watch._nameless(own, 2 * _SIZE), _SIZE)
        # Python's own mapping keeps a descriptor.
        place = _libc.mmap(None, _SIZE, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        self.assertEqual(watch._nameless(own, 2 * _SIZE), _SIZE)
        os.close(fd)
        _libc.munmap(place + mmap.PAGESIZE, _SIZE - mmap.PAGESIZE)
        self.assertEqual(watch._nameless(own, 2 * _SIZE), 2 * _SIZE, "it may be as large as a file can be")
        _libc.munmap(place, _SIZE)
        self.assertEqual(watch._nameless(own, 2 * _SIZE), 0)

    def test_a_name_with_the_end_of_a_line_in_it_hides_nothing(self) -> None:
        for end in "\n\r\v\f\x1c\x85\u2028 ":
            fd = self._unlinked(f"x{end}y")
            place = _libc.mmap(None, _SIZE, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
            os.close(fd)
            self.assertEqual(watch._nameless(os.getpid(), 2 * _SIZE), 2 * _SIZE, repr(end))
            _libc.munmap(place, _SIZE)

    def test_one_that_is_closed_while_they_are_looked_at_hides_no_other(self) -> None:
        fd = self._unlinked()
        with mock.patch.object(watch.os, "listdir", return_value=["999999", str(fd)]):
            self.assertEqual(watch._nameless(os.getpid(), 2 * _SIZE), _SIZE)
        os.close(fd)

    def test_memory_without_a_file_and_files_elsewhere_do_not_count(self) -> None:
        with mmap.mmap(-1, _SIZE), tempfile.TemporaryFile() as other:
            other.write(bytes(_SIZE))
            other.flush()
            with mmap.mmap(other.fileno(), _SIZE):
                before = watch._nameless(os.getpid(), 2 * _SIZE)
        self.assertEqual(before, _SIZE, "open: counted by its descriptor, wherever it is; the memory is not")

    def test_who_maps_more_than_can_be_looked_at_has_too_much(self) -> None:
        with mock.patch.object(watch, "_MAPS_BYTES_MAX", 100):
            self.assertTrue(watch.too_much(self.folder, _SIZE, 10, os.getpid()))
        self.assertFalse(watch.too_much(self.folder, _SIZE, 10, os.getpid()))

    def test_a_folder_that_is_closed_again_and_again_is_too_much(self) -> None:
        os.mkdir(f"{self.folder}/closed")
        self.assertFalse(watch.too_much(self.folder, _SIZE, 10))
        with mock.patch.object(folders, "_open_folder", side_effect=PermissionError):
            self.assertTrue(watch.too_much(self.folder, _SIZE, 10))

    def test_a_helper_that_keeps_files_without_a_name_has_too_much(self) -> None:
        fd = self._unlinked()
        self.assertFalse(watch.too_much(self.folder, _SIZE // 2, 10))
        self.assertTrue(watch.too_much(self.folder, _SIZE // 2, 10, os.getpid()))
        os.close(fd)

    def test_a_helper_that_writes_again_and_again_has_written_too_much(self) -> None:
        with mock.patch.object(watch, "_written", return_value=5 * _SIZE):
            self.assertTrue(watch.too_much(self.folder, _SIZE, 10, os.getpid()))
            self.assertFalse(watch.too_much(self.folder, 2 * _SIZE, 10, os.getpid()))


if __name__ == "__main__":
    unittest.main()
