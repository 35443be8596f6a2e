/** Resolves the local references of JSON Schemas: `{"$ref": "#/$defs/Priority"}`. */

import { isObject, type JsonObject } from './object.ts';
import { weighJson } from './weigh-json.ts';

/** Keywords whose value is a schema. */
export const SCHEMA_KEYWORDS = [
  'items',
  'additionalProperties',
  'not',
  'if',
  'then',
  'else',
  'contains',
  'propertyNames',
];
/** Keywords whose value is a list of schemas. */
export const SCHEMA_LIST_KEYWORDS = ['anyOf', 'oneOf', 'allOf', 'prefixItems'];
/** Keywords whose value is an object of schemas. */
export const SCHEMA_MAP_KEYWORDS = ['properties', 'patternProperties', 'dependentSchemas'];
const DEFINITION_KEYWORDS = ['$defs', 'definitions'];
/** Keywords that describe a value and do not limit it. Beside a reference they replace those of its target. */
const DESCRIPTIVE_KEYWORDS: ReadonlySet<string> = new Set([
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$comment',
]);
/** How deep schemas may be nested, references included. */
export const MAX_SCHEMA_DEPTH = 16;
/** How many schemas a schema may contain once its references are resolved. */
const MAX_SCHEMAS = 2_000;
/** How much a schema may weigh once its references are resolved. A list of choices counts once for each reference to it. */
const MAX_SCHEMA_WEIGHT = 200_000;

/** A schema without references, or the reason why there is none. */
export type ResolvedSchema = { schema: JsonObject; fault?: undefined } | { schema?: undefined; fault: string };

/** A reference that cannot be resolved. */
class UnresolvedReferenceError extends Error {}

/**
 * Replaces local references by the schemas that they refer to. A description beside a reference is kept.
 *
 * @returns a copy without references and definitions; or the fault of a schema that is recursive, refers to something
 * outside of it, is nested too deep, or is too large
 */
export function resolveSchemaReferences(root: JsonObject): ResolvedSchema {
  try {
    return { schema: new SchemaReferenceResolver(root).resolveSchema(root, '', 0) as JsonObject };
  } catch (thrown) {
    if (thrown instanceof UnresolvedReferenceError) return { fault: thrown.message };
    throw thrown;
  }
}

class SchemaReferenceResolver {
  readonly #root: JsonObject;
  /** The references that are being resolved. */
  readonly #openReferences = new Set<string>();
  #schemas = 0;
  #weight = 0;

  constructor(root: JsonObject) {
    this.#root = root;
  }

  resolveSchema(schema: unknown, path: string, depth: number): unknown {
    if (!isObject(schema)) return schema;
    this.#schemas += 1;
    if (depth > MAX_SCHEMA_DEPTH) {
      throw new UnresolvedReferenceError(
        `${path === '' ? 'the schema' : path} is nested more than ${MAX_SCHEMA_DEPTH} levels deep. Simplify it`,
      );
    }
    if (this.#schemas > MAX_SCHEMAS) {
      throw new UnresolvedReferenceError(
        `the schema contains more than ${MAX_SCHEMAS} schemas once its references are resolved. Use fewer references`,
      );
    }
    const joinPath = (rest: string) => (path === '' ? rest : `${path}.${rest}`);
    const { $ref: reference, ...others } = schema;
    if (reference !== undefined) return this.#resolveReference(reference, others, { path, depth });
    const copy = Object.entries(others)
      .filter(([name]) => !DEFINITION_KEYWORDS.includes(name))
      .map(([name, value]) => [name, this.#resolveKeywordValue(name, value, joinPath(name), depth + 1)]);
    return Object.fromEntries(copy);
  }

  #resolveKeywordValue(keyword: string, value: unknown, path: string, depth: number): unknown {
    if (SCHEMA_KEYWORDS.includes(keyword)) return this.resolveSchema(value, path, depth);
    if (SCHEMA_LIST_KEYWORDS.includes(keyword) && Array.isArray(value)) {
      return value.map((inner: unknown, index) => this.resolveSchema(inner, `${path}.${index}`, depth));
    }
    if (!SCHEMA_MAP_KEYWORDS.includes(keyword) || !isObject(value)) {
      if (!DESCRIPTIVE_KEYWORDS.has(keyword)) this.#addWeight(value);
      return value;
    }
    const inner = Object.entries(value).map(([name, schema]) => {
      if (!name.isWellFormed())
        throw new UnresolvedReferenceError(`${path} contains a name with a lone surrogate. Use another name`);
      return [name, this.resolveSchema(schema, `${path}.${name}`, depth)];
    });
    return Object.fromEntries(inner);
  }

  /** @throws UnresolvedReferenceError if the schema weighs too much */
  #addWeight(value: unknown): void {
    this.#weight += weighJson(value, MAX_SCHEMA_WEIGHT);
    if (this.#weight <= MAX_SCHEMA_WEIGHT) return;
    throw new UnresolvedReferenceError(
      `the schema contains more than ${MAX_SCHEMA_WEIGHT} values once its references are resolved. Use fewer references or choices`,
    );
  }

  #resolveReference(reference: unknown, others: JsonObject, { path, depth }: { path: string; depth: number }): unknown {
    const at = path === '' ? '$ref' : `${path}.$ref`;
    const target = typeof reference === 'string' ? findReferencedSchema(reference, this.#root) : undefined;
    if (typeof reference !== 'string' || !isObject(target)) {
      throw new UnresolvedReferenceError(
        `${at} should refer to a part of this schema, such as "#/$defs/Name"; ${JSON.stringify(reference)} does not`,
      );
    }
    if (this.#openReferences.has(reference)) {
      throw new UnresolvedReferenceError(
        `${at} is recursive, which structured output does not support. Remove the recursion, for example by limiting the depth`,
      );
    }
    this.#openReferences.add(reference);
    const resolved = this.resolveSchema(target, path, depth + 1) as JsonObject;
    this.#openReferences.delete(reference);
    const beside = Object.fromEntries(Object.entries(others).filter(([name]) => !DEFINITION_KEYWORDS.includes(name)));
    const isConflictingKeyword = (name: string) =>
      !DESCRIPTIVE_KEYWORDS.has(name) &&
      Object.hasOwn(resolved, name) &&
      JSON.stringify(resolved[name]) !== JSON.stringify(beside[name]);
    if (!Object.keys(beside).some(isConflictingKeyword))
      return { ...resolved, ...(this.resolveSchema(beside, path, depth) as JsonObject) };
    return { allOf: [resolved, this.resolveSchema(beside, path, depth + 1)] };
  }
}

/** @returns the part of a schema that a reference within it points to; undefined for any other reference */
export function findReferencedSchema(reference: string, root: JsonObject): unknown {
  if (!reference.startsWith('#')) return undefined;
  const keys = decodeReference(reference).slice(1).split('/').slice(1);
  return keys.reduce<unknown>((target, key) => {
    const name = key.replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(target)) return target[Number(name)];
    return isObject(target) && Object.hasOwn(target, name) ? target[name] : undefined;
  }, root);
}

/** @returns a reference without percent-encoding; as it is, if the encoding is malformed */
function decodeReference(reference: string): string {
  try {
    return decodeURIComponent(reference);
  } catch {
    return reference;
  }
}
