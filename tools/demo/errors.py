"""The one error that the demo's tools raise on purpose."""


class DemoError(Exception):
    """Something that the demo is made with is missing or did not behave; the message is a sentence for the user."""
