from manim import *


class LabeledBox(VGroup):
    _count = 0

    def __init__(self, label, *, side=1.0, color=WHITE, **kwargs):
        super().__init__(**kwargs)
        LabeledBox._count += 1
        self.__label = label
        self.box = Square(side_length=side, color=color)
        self.text = Text(label).scale(0.5).move_to(self.box)
        self.add(self.box, self.text)

    def __repr__(self):
        return f"{self.__class__.__name__}({self.__label!r})"

    def __eq__(self, other):
        return isinstance(other, LabeledBox) and self.__label == other.__label

    def __hash__(self):
        return hash(self.__label)

    @property
    def label(self):
        return self.__label


class Boxes(Scene):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._shown = []

    def setup(self):
        super(Boxes, self).setup()
        Scene.setup(self)

    def construct(self):
        boxes = VGroup(*[LabeledBox(name, color=color) for name, color in zip("ABC", [RED, GREEN, BLUE])])
        boxes.arrange(RIGHT, buff=1)
        self._shown.extend(boxes)
        print(boxes[0], len(self._shown), type(boxes[0]).__name__)
        self.play(FadeIn(boxes))
