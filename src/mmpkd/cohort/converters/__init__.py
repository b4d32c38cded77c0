"""From archives as they lie on disk to cohorts: one small module an archive, one contract for all."""

from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.convert import convert_archive

__all__ = ["Converter", "ConverterOptions", "convert_archive"]
