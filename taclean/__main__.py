"""`python -m taclean`, and the command `taclean`."""


def run() -> None:
    """Run one command; Ctrl-C ends it without a traceback, also while the modules are imported."""
    try:
        from taclean.cli import main

        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    run()
