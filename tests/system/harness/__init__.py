# SPDX-License-Identifier: Apache-2.0
"""How the system tests start Cairn, talk to it and break it."""
