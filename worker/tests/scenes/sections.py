import wave

from manim import *

config.save_sections = True


class Sections(Scene):
    """Sections of which one is skipped, a sound and a subcaption."""

    def construct(self):
        with wave.open("beep.wav", "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(b"\x00\x40\x00\xc0" * 4000)
        self.add_sound("beep.wav")
        square = Square()
        self.play(Create(square), subcaption="It begins", subcaption_duration=1)
        self.next_section("skipped", skip_animations=True)
        self.play(square.animate.shift(RIGHT))
        self.next_section("seen")
        self.play(Rotate(square), run_time=0.6)
        self.wait(0.4)
