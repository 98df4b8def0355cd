"""The progress of a training: one line that is overwritten on a terminal, or lines on a pipe."""

import dataclasses
import math
import shutil
import sys


@dataclasses.dataclass
class Progress:
    """Counts steps and seconds, and prints them.

    Attributes:
      steps: steps of the whole training.
      batch_size: patches of a step.
      every: steps between two lines on a pipe.
      dataset: name of the validation set.
      silent: True prints nothing (for all processes except the first).
      seconds: seconds of all dispatches so far.
      waited: seconds of these in which the devices waited for data.
    """

    steps: int
    batch_size: int
    every: int
    dataset: str
    silent: bool = False
    seconds: float = 0.0
    waited: float = 0.0
    _counted: int = 0  # steps from which the speed is computed
    _counted_seconds: float = 0.0  # seconds of these steps
    _psnr: float = math.nan  # newest mean PSNR in dB
    _measured_at: int = 0  # step after which it was measured

    def add(self, steps: int, seconds: float, waited: float) -> None:
        """Counts a dispatch. The first does not count for the speed, because it compiles."""
        if self.seconds:
            self._counted += steps
            self._counted_seconds += seconds
        self.seconds += seconds
        self.waited += waited

    def measured(self, step: int, psnr: float) -> None:
        """Stores a new mean PSNR in dB, measured after `step` updates."""
        self._measured_at, self._psnr = step, psnr

    def show(self, step: int, loss: float, last: bool = False) -> None:
        """Prints the progress after `step` updates, if a line is due."""
        live = sys.stdout.isatty()
        if self.silent or not (live or last or step % self.every == 0):
            return
        words = [f"step {step:>{len(str(self.steps))}}/{self.steps}"]
        if not math.isnan(loss):
            words.append(f"loss {loss:.3e}")
        new = self._measured_at == step
        if not math.isnan(self._psnr) and (new or live):  # on a pipe an old one would look new
            at = "" if new else f" at step {self._measured_at}"
            words.append(f"{self.dataset} {self._psnr:.2f} dB{at}")
        if self._counted:
            rate = self._counted / self._counted_seconds
            left = round((self.steps - step) / rate)
            words.append(f"{rate * self.batch_size:,.0f} patches/s")
            words.append(f"{left // 60}:{left % 60:02} left")
        text = "  ".join(words)
        if live:  # a line that is longer than the terminal could not be overwritten
            text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text}\033[K" if live else text, end="\n" if last or not live else "", flush=True)

    def share_waited(self) -> float:
        """The fraction of the time, 0..1, in which the devices waited for data."""
        return self.waited / self.seconds if self.seconds else 0.0
