/** What goes wrong in a schedule: few things, anywhere. */
import fc from 'fast-check';
import { FAULTS } from './world.ts';

export const mishaps = {
  faults: fc.array(fc.record({ call: fc.integer({ min: 1, max: 30 }), fault: fc.constantFrom(...FAULTS) }), {
    maxLength: 3,
  }),
  crashes: fc.array(
    fc.record({ step: fc.integer({ min: 1, max: 60 }), host: fc.integer({ min: 0, max: 1 }), keeps: fc.boolean() }),
    { maxLength: 2 },
  ),
};
