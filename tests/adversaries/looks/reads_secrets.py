"""Reads the keys and tokens in the user's environment."""

import os


def attempt():
    return "AUTORL_TEST_TOKEN" in os.environ
