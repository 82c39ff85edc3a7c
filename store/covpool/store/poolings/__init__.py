"""Poolings: from moments to an embedding, by a plain rule or a fitted one; applying them is numpy alone."""
