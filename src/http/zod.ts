/**
 * zod as every schema imports it: the functions of `zod/mini`, of which only those are deployed that are used, with the
 * English messages that the whole of zod brings along by itself.
 */
import { en } from 'zod/locales';
import * as mini from 'zod/mini';

export * from 'zod/mini';

mini.config(en());

/**
 * Says in the reference what a schema means.
 *
 * @returns a copy: the same schema may stand in several places, and mean something else in each
 */
export function described<T extends mini.ZodMiniType>(schema: T, description: string): T {
  return withMeta(schema, { description });
}

/** @returns a copy of a schema with what the reference says of it: its name, a description, an example. */
export function withMeta<T extends mini.ZodMiniType>(schema: T, meta: mini.core.GlobalMeta): T {
  const copy = schema.clone();
  mini.globalRegistry.add(copy, meta);
  return copy;
}

/** @returns what was said of a schema with `described`. */
export function descriptionOf(schema: mini.ZodMiniType): string | undefined {
  return mini.globalRegistry.get(schema)?.description;
}
