/** Tools for trying runs in development. No deployed edge has them. */

import type { JsonObject } from '../../../kit/json/object.ts';
import type { ToolSchema, WorkerTools } from './worker-tools.ts';

const MOST_DICE = 10;
const SERVICES = ['checkout', 'search', 'mail'];
const ZONES = ['UTC', 'Europe/Zurich', 'America/New_York', 'Asia/Tokyo'];

type DemonstrationTools = WorkerTools<{
  edge_clock: { time_zone: string };
  edge_dice: { dice: number };
  edge_rollback: { service: string };
}>;

/** A clock, dice, and a rollback that rolls nothing back. */
export const DEMONSTRATION_TOOLS: DemonstrationTools = {
  edge_clock: {
    description: 'Tells the date and time in a time zone, by the clock of the edge.',
    schema: createInputSchema<{ time_zone: string }>({ time_zone: { type: 'string', enum: ZONES } }, ({ time_zone }) =>
      ZONES.includes(String(time_zone)) ? undefined : `must be one of ${ZONES.join(', ')}`,
    ),
    run: ({ time_zone }) =>
      new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'long', timeZone: time_zone }).format(),
  },
  edge_dice: {
    description: 'Rolls dice with six sides at the edge, and tells what came up.',
    schema: createInputSchema<{ dice: number }>(
      { dice: { type: 'integer', minimum: 1, maximum: MOST_DICE } },
      ({ dice }) =>
        Number.isInteger(dice) && Number(dice) >= 1 && Number(dice) <= MOST_DICE
          ? undefined
          : `must be 1 to ${MOST_DICE}`,
    ),
    run: ({ dice }) => {
      const rolled = crypto.getRandomValues(new Uint32Array(dice));
      return { rolled: [...rolled].map((number) => (number % 6) + 1) };
    },
  },
  edge_rollback: {
    description: 'Rolls a service back to its last release. A demonstration: it says what it would do.',
    schema: createInputSchema<{ service: string }>({ service: { type: 'string', enum: SERVICES } }, ({ service }) =>
      SERVICES.includes(String(service)) ? undefined : `must be one of ${SERVICES.join(', ')}`,
    ),
    run: ({ service }) => ({ would_roll_back: service, done: false }),
    once: true,
  },
};

/** @param faultOf returns what is wrong with an input's only member; undefined if it is valid */
function createInputSchema<Input extends object>(
  properties: { [Name in keyof Input]: JsonObject },
  faultOf: (input: Partial<Record<string, unknown>>) => string | undefined,
): ToolSchema<Input> {
  const [name = ''] = Object.keys(properties);
  return {
    '~standard': {
      version: 1,
      vendor: 'sluice',
      jsonSchema: { input: () => ({ type: 'object', properties, required: [name] }) },
      validate: (value) => {
        const message = faultOf((value ?? {}) as Record<string, unknown>);
        return message === undefined ? { value: value as Input } : { issues: [{ message, path: [name] }] };
      },
    },
  };
}
