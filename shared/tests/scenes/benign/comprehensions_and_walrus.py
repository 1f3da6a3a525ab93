import re
import string
import textwrap
from collections import Counter, defaultdict, deque, namedtuple

from manim import *

Bar = namedtuple("Bar", "letter count")
TEXT = textwrap.dedent(
    """
    It was the best of times, it was the worst of times
    """
)


class LetterFrequency(Scene):
    def construct(self):
        counts = Counter(c for c in TEXT.lower() if c in string.ascii_lowercase)
        words = re.compile(r"\w+").findall(TEXT)
        bars = sorted((Bar(*item) for item in counts.items()), key=lambda bar: -bar.count)
        if (most := bars[0].count) > 3:
            print(f"{most=}, {words[:3]!r:>30}")
        index = defaultdict(list)
        {index[len(word)].append(word) for word in words}
        window = deque(maxlen=3)
        chart = BarChart(
            values=[count for _, count in bars[:8]],
            bar_names=[letter for letter, _ in bars[:8]],
            y_range=[0, most + (most % 2), 2],
        )
        self.play(Create(chart))
        while window is not None and len(window) < 3:
            window.append(len(window))
        try:
            assert index[3], "no word of three letters"
        except (AssertionError, KeyError) as error:
            self.add(Text(str(error.args[0])))
        finally:
            self.wait()
