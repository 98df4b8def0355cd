"""What a run says while it trains: one line, overwritten on a terminal, plain lines on a pipe."""

import dataclasses
import math
import sys


@dataclasses.dataclass
class Progress:
    """Counts steps and seconds, and prints them.

    Attributes:
      steps: length of the training.
      batch_size: patches of a step.
      every: steps between two lines on a pipe.
      dataset: what PSNR is measured on.
      silent: whether to print nothing (all processes but the first).
      seconds, waited: time since the start, and how much of it the devices had no data.
    """

    steps: int
    batch_size: int
    every: int
    dataset: str
    silent: bool = False
    seconds: float = 0.0
    waited: float = 0.0
    _counted: int = 0  # steps that the rate is computed from, and their seconds
    _counted_seconds: float = 0.0
    _psnr: float = math.nan  # newest mean in dB, and the step after which it was measured
    _measured_at: int = 0

    def add(self, steps: int, seconds: float, waited: float) -> None:
        """Counts a dispatch; the first one compiles, and says nothing of the rate."""
        if self.seconds:
            self._counted += steps
            self._counted_seconds += seconds
        self.seconds += seconds
        self.waited += waited

    def measured(self, step: int, psnr: float) -> None:
        """Takes a new mean PSNR in dB."""
        self._measured_at, self._psnr = step, psnr

    def show(self, step: int, loss: float, last: bool = False) -> None:
        """Prints the state after `step` updates, if it is time to."""
        live = sys.stdout.isatty()
        if self.silent or not (live or last or step % self.every == 0):
            return
        words = [f"step {step:>{len(str(self.steps))}}/{self.steps}"]
        if not math.isnan(loss):
            words.append(f"loss {loss:.3e}")
        new = self._measured_at == step
        if not math.isnan(self._psnr) and (new or live):  # an old one would look like the new
            at = "" if new else f" at step {self._measured_at}"
            words.append(f"{self.dataset} {self._psnr:.2f} dB{at}")
        if self._counted:
            rate = self._counted / self._counted_seconds
            left = round((self.steps - step) / rate)
            words.append(f"{rate * self.batch_size:,.0f} patches/s")
            words.append(f"{left // 60}:{left % 60:02} left")
        text = "  ".join(words)
        print(f"\r{text}\033[K" if live else text, end="\n" if last or not live else "", flush=True)

    def share_waited(self) -> float:
        """Part of the time, 0..1, that the devices waited for data."""
        return self.waited / self.seconds if self.seconds else 0.0
