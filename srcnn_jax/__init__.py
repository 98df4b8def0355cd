"""SRCNN (Dong, Loy, He, Tang; ECCV 2014, TPAMI 2016, arXiv 1501.00092) in JAX/Flax."""

__version__ = "0.1.0"
