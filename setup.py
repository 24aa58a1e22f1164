"""Puts the default config, which stands beside the workflow, into the installed package too."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfig(build_py):
    """Copies config/config.yaml to where `taclean.config` finds it without the workflow."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "taclean", "config", "config.yaml")
            self.copy_file("config/config.yaml", str(target))


setup(cmdclass={"build_py": WithConfig})
