"""What the zygote looks at before it says that it is ready."""

import mmap
import unittest

from manimq_renderer.zygote import shared_memory


class SharedMemory(unittest.TestCase):
    def test_memory_that_forks_would_share_is_found_and_private_memory_is_not(self) -> None:
        before = shared_memory()
        with mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
            self.assertEqual(shared_memory(), before)
        with mmap.mmap(-1, 4096):
            self.assertEqual(len(shared_memory()), len(before) + 1)
        self.assertEqual(shared_memory(), before)


if __name__ == "__main__":
    unittest.main()
