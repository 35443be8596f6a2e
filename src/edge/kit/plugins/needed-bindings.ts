/** What must be bound to a Worker. The settings are another matter: each has its own fault. */

import { getPluginMembersWithNames } from './plugins.ts';

/** What a plugin needs, by the names of the bindings: the class of the objects, or null for what is no object. */
export type NeededBindings = Readonly<Record<string, string | null>>;

declare module './plugins.ts' {
  interface Plugin {
    /** The bindings that the plugin needs in `wrangler.toml`: the class of each Durable Object, null for any other binding. */
    readonly bindings?: NeededBindings;
  }
}

const CORE_BINDINGS = { STORE: null, ACCOUNT: 'Account', CONVERSATION: 'Conversation' };

/** @returns what the core and each of the plugins in use need */
function collectBindings(): (readonly [name: string, bindings: NeededBindings])[] {
  return [['the core', CORE_BINDINGS], ...getPluginMembersWithNames('bindings')];
}

/** @returns what the core and the plugins in use need, by the names of the bindings */
export function getNeededBindings(): NeededBindings {
  return Object.assign({}, ...collectBindings().map(([, bindings]) => bindings));
}

/** @returns a sentence for each binding that the core or a plugin in use needs and a Worker does not have */
export function findMissingBindings(env: Readonly<Record<string, unknown>>): string[] {
  return collectBindings().flatMap(([name, bindings]) =>
    Object.entries(bindings)
      .filter(([binding]) => env[binding] === undefined)
      .map(([binding, of]) => {
        const bind = of === null ? 'bind it' : `export the class ${of}, name it in a migration, and bind it`;
        return `${binding} is missing for ${name}: ${bind} in your wrangler.toml.`;
      }),
  );
}
