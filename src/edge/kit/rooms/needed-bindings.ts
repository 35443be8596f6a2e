/** What must be bound to a Worker. The settings are another matter: each has its own fault. */

import { pluggedByRooms, seam } from './rooms.ts';

/** What a room needs, by the names of the bindings: the class of the objects, or null for what is no object. */
export type NeededBindings = Readonly<Record<string, string | null>>;

export const BINDINGS = seam<NeededBindings>()('bindings');

const OF_THE_CORE = { STORE: null, ACCOUNT: 'Account', CONVERSATION: 'Conversation' };

/** @returns what the core and each of the rooms in use need */
function needs(): (readonly [name: string, bindings: NeededBindings])[] {
  return [['the core', OF_THE_CORE], ...pluggedByRooms(BINDINGS)];
}

/** @returns what the core and the rooms in use need, by the names of the bindings */
export function neededBindings(): NeededBindings {
  return Object.assign({}, ...needs().map(([, bindings]) => bindings));
}

/** @returns a sentence for each binding that the core or a room in use needs and a Worker does not have */
export function missingBindings(env: Readonly<Record<string, unknown>>): string[] {
  return needs().flatMap(([name, bindings]) =>
    Object.entries(bindings)
      .filter(([binding]) => env[binding] === undefined)
      .map(([binding, of]) => {
        const bind = of === null ? 'bind it' : `export the class ${of}, name it in a migration, and bind it`;
        return `${binding} is missing for ${name}: ${bind} in your wrangler.toml.`;
      }),
  );
}
