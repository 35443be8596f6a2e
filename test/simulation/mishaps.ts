/** What goes wrong in a schedule: few things, anywhere. */
import fc from 'fast-check';
import { FAULTS, WRITE_FAILURES } from './world.ts';

/** @param maxWrite the number of the last write that may fail @param minWrite that of the first, behind those that set the world up */
export const failingWrites = (maxWrite: number, minWrite = 1) =>
  fc.array(
    fc.record({ write: fc.integer({ min: minWrite, max: maxWrite }), failure: fc.constantFrom(...WRITE_FAILURES) }),
    {
      maxLength: 2,
    },
  );

export const mishaps = {
  faults: fc.array(fc.record({ call: fc.integer({ min: 1, max: 30 }), fault: fc.constantFrom(...FAULTS) }), {
    maxLength: 3,
  }),
  crashes: fc.array(
    fc.record({ step: fc.integer({ min: 1, max: 60 }), host: fc.integer({ min: 0, max: 1 }), keeps: fc.boolean() }),
    { maxLength: 2 },
  ),
  writes: failingWrites(120),
};
