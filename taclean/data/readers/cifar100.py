"""CIFAR-100, as torchvision reads it."""

from taclean.data.readers.cifar10 import Cifar10


class Cifar100(Cifar10):
    """As CIFAR-10, with 100 classes."""

    published = "CIFAR100"
