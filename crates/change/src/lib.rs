//! What holds for every kind of change: capacity budget and floor, guard evaluation, freeze and emergency.
