/** What must be bound to a Worker. The settings are another matter: each has its own fault. */

import { pluggedInto, seam } from '../rooms/rooms.ts';

/** What rooms need, by the names of the bindings: the class of the objects, or null for a queue. */
export const BINDINGS = seam<Readonly<Record<string, string | null>>>()('bindings');

const OF_THE_CORE = { ACCOUNT: 'Account', CONVERSATION: 'Conversation' };

/** @returns what the core and the rooms in use need, by the names of the bindings */
export function neededBindings(): Readonly<Record<string, string | null>> {
  return Object.assign({}, OF_THE_CORE, ...pluggedInto(BINDINGS));
}

/** @returns a sentence for each binding of the rooms in use that a Worker does not have */
export function missingBindings(env: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(neededBindings())
    .filter(([name]) => env[name] === undefined)
    .map(([name, of]) => {
      const what = of === null ? 'a queue' : `the class ${of}`;
      return `The binding ${name} is missing: name it in your wrangler.toml, with ${what}, as that of Sluice does.`;
    });
}
