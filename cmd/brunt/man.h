/*
 * man - brunt(1) in roff, printed by the role "__man" while building
 */
#pragma once

int man_main(int argc, char **argv);
