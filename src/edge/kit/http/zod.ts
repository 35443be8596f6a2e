/**
 * zod for every schema: the functions of `zod/mini`, of which only the used ones are deployed. The English messages, which
 * the larger `zod` includes, are added here.
 */
import { en } from 'zod/locales';
import * as mini from 'zod/mini';
// By its name: `mini.core.$ZodObject` would put all of zod, with its 60 languages, into the Worker.
import { $ZodObject } from 'zod/v4/core';
import { findNearestName } from '../json/nearest-name.ts';

export * from 'zod/mini';

const { localeError: describeIssue } = en();

mini.config({ localeError: (issue) => appendNearestKey(describeIssue(issue), issue) });

/** Appends the known key that was probably meant to the message about unknown keys of an object. */
function appendNearestKey(
  message: ReturnType<mini.core.$ZodErrorMap>,
  issue: Parameters<mini.core.$ZodErrorMap>[0],
): ReturnType<mini.core.$ZodErrorMap> {
  if (typeof message !== 'string' || issue.code !== 'unrecognized_keys') return message;
  const shape = issue.inst instanceof $ZodObject ? issue.inst._zod.def.shape : {};
  const [unknown = ''] = issue.keys;
  const meant = findNearestName(unknown, Object.keys(shape));
  return meant === undefined ? message : `${message}. Did you mean "${meant}"?`;
}

/**
 * Describes a schema for the reference.
 *
 * @returns a copy with the description: the same schema may be used in several places with different meanings
 */
export function addDescription<T extends mini.ZodMiniType>(schema: T, description: string): T {
  return addReferenceMeta(schema, { description });
}

/** Describes a schema for the reference, and makes it optional. */
export function createOptionalField<T extends mini.ZodMiniType>(
  schema: T,
  description: string,
): mini.ZodMiniOptional<T> {
  const optional = mini.optional(schema);
  // `optional` is a new schema that nothing else uses, so register the description on it instead of on a copy.
  mini.globalRegistry.add(optional, { description });
  return optional;
}

/** @returns a copy of a schema with its texts for the reference: a name, a description, an example. */
export function addReferenceMeta<T extends mini.ZodMiniType>(schema: T, meta: mini.core.GlobalMeta): T {
  const copy = schema.clone();
  mini.globalRegistry.add(copy, meta);
  return copy;
}

export function getSchemaDescription(schema: mini.ZodMiniType): string | undefined {
  return mini.globalRegistry.get(schema)?.description;
}
