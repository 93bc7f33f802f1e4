"""How to read each figure, in a sentence: of the page and of the files that are drawn of it.

Some readings are two: of a log-probability the sign says for or against the answer, of a number
that may go either way whether it is raised or lowered.
"""

from __future__ import annotations

ALIGNMENT_READING = (
    "A row is a {target_unit} that was written; its weights over the {source_unit}s that were read"
    " sum to 1. The stronger the colour, the more it looked there; the frame marks the most."
)
TEXT_READING = {
    False: (
        "{what} The stronger the shading, the larger; underlined parts speak against the answer."
        " The largest is {most:.3g} ({unit})."
    ),
    True: (
        "{what} The stronger the shading, the larger; underlined parts lower the number. The"
        " largest is {most:.3g} ({unit})."
    ),
}
SERIES_READING = {
    False: "{what} Upwards speaks for the answer, downwards against it.",
    True: "{what} Upwards raises the number, downwards lowers it.",
}
BARS_READING = {
    False: "Blue bars speak for the answer, orange ones against it.",
    True: "Blue bars raise the number, orange ones lower it.",
}
DELETION_READING = (
    "The further a line rises, the more the answer lost. 90\u00a0% of random orders lie in the grey"
    " area; 'highest' should keep to its upper edge or above, 'lowest' to its lower edge."
)
WORDS_READING = (
    "A row is a unit that was written, those before it given; a column is a part of the input. The"
    " stronger the colour, the more the unit's log-probability moves when that part alone is gone:"
    " blue where it falls, orange where it rises. The most is {most:.3g}."
)
GATE_READING = "The mean over all units of each gate, step by step: 1 is open, 0 closed."
HEAT_READING = (
    "A row is a unit, a column a step: blue above 0, orange below, the stronger the further from 0."
    " L0:17 is unit 17 of the first layer, both counted from 0; an r means the backward direction."
    " These are the units that vary most."
)
MEMORY_READING = (
    "'gradient' is the norm of the last state's derivative by the step's input, 'answer' the change"
    " of the score without the step, each as a share of its own largest."
)
