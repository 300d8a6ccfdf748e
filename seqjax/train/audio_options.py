"""The options of tasks that read sounds."""

import dataclasses

from seqjax.data.formats.audio import Audio
from seqjax.train.bounds import PositiveInt


@dataclasses.dataclass(frozen=True)
class AudioFields:
    """The column of sounds, and how they become frames."""

    audio: str | None = None
    """Column with the path of a file of sound (.wav, .flac, .mp3, ...), relative to the table; its
    ending may be left out."""
    audio_folder: str | None = None
    """Folder that these paths are relative to, instead."""
    sample_rate: PositiveInt = 16_000
    """Samples a second, to which sounds are resampled."""
    mel_bands: PositiveInt = 40
    """Mel bands of a frame; frames are 25 ms long and 10 ms apart."""

    @property
    def sounds(self) -> Audio | None:
        """The sounds as the readers of files take them."""
        if self.audio is None:
            return None
        return Audio(self.audio, self.audio_folder, self.sample_rate, self.mel_bands)
