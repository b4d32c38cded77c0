"""mmpkd: multimodal privileged knowledge distillation for medical imaging (and other paired data)."""

__version__ = "0.1.0"
