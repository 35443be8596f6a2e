import { defineKind } from './kind.ts';

/** The simulator that is built in: answers without a key, in development only. */
export const simulatorKind = defineKind({
  fields: {},
  keyless: true,
  simulated: true,
  idOf: (id) => id,
  open: () => ({
    address: ({ path }) => `https://simulator.invalid${path}`,
    authorize: () => ({ 'x-api-key': 'simulator' }),
  }),
});
