"""Engines that run one recurrent layer over a whole sequence, and the choice among them."""
