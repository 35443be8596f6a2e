/** The types of a request's fields: which names and JSON types the API accepts where, in its words. */

import { areBetasRequested, type RequestedBetas } from './betas.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { formatQuotedList } from './quoted-list.ts';

/**
 * Types by their names: an object by its fields, or a union. What a value can be is `string`, `integer`, `number`, `boolean`,
 * `any`, a literal as JSON (`"auto"`, `null`), a list `[…]`, an object with any keys `{…}`, or the name of a type. Alternatives
 * are separated by `|`. An object with the field `*` can have any further fields.
 */
export type TypeTable = Readonly<Record<string, string | Readonly<Record<string, string>>>>;

/**
 * The betas without which the API does not know a type, a field (`Type.field`, of the body itself `field`) or a value
 * (`Type.field=value`). Of several, any one is enough. The names are beginnings.
 */
export type BetaTable = Readonly<Record<string, readonly string[]>>;

/** The rules with which requests are compared. */
export interface FieldRules {
  types: TypeTable;
  betas: BetaTable;
}

/** The alternatives of a value. */
interface ValueType {
  isAny: boolean;
  scalars: ReadonlySet<string>;
  literals: readonly string[];
  isNullable: boolean;
  item: ValueType | undefined;
  /** Of an object with any keys. */
  value: ValueType | undefined;
  /** The names of types. */
  names: readonly string[];
}

const SCALARS = new Set(['string', 'integer', 'number', 'boolean']);
const valueTypes = new Map<string, ValueType>();

/** Splits alternatives at each `|` that is not within brackets. */
function splitAlternatives(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at <= text.length; at++) {
    const sign = text[at];
    if (sign === '[' || sign === '{') depth++;
    else if (sign === ']' || sign === '}') depth--;
    else if (sign === undefined || (sign === '|' && depth === 0)) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  return parts;
}

function parseValueType(text: string): ValueType {
  const known = valueTypes.get(text);
  if (known) return known;
  const parts = splitAlternatives(text);
  const parseInner = (opening: string) => {
    const found = parts.find((part) => part.startsWith(opening));
    return found === undefined ? undefined : parseValueType(found.slice(1, -1));
  };
  const type = {
    isAny: parts.includes('any'),
    scalars: new Set(parts.filter((part) => SCALARS.has(part))),
    literals: parts.filter((part) => part.startsWith('"')).map((part) => part.slice(1, -1)),
    isNullable: parts.includes('null'),
    item: parseInner('['),
    value: parseInner('{'),
    names: parts.filter((part) => /^[A-Z]/.test(part)),
  };
  valueTypes.set(text, type);
  return type;
}

/** A type of an object, with its tag if it has one. */
interface ObjectType {
  name: string;
  fields: Readonly<Record<string, string>>;
  /** The values of its field `type`; none for an object without a type. */
  tags: readonly string[];
}

function listObjectTypes(names: readonly string[], types: TypeTable): ObjectType[] {
  return names.flatMap((name) => {
    const fields = types[name] ?? {};
    if (typeof fields === 'string') return listObjectTypes(parseValueType(fields).names, types);
    const isTagged = fields.type !== undefined && fields['*'] === undefined;
    return [{ name, fields, tags: isTagged ? parseValueType(fields.type ?? '').literals : [] }];
  });
}

/** @returns the values that `type` can have in a union, without those that need other betas */
export function listAvailableTags(union: string, { types, betas }: FieldRules, requested: RequestedBetas): string[] {
  const available = listObjectTypes([union], types).filter(({ name }) => areBetasRequested(requested, betas[name]));
  return available.flatMap(({ tags }) => tags);
}

/** @returns the API's words for a discriminator that it does not know */
export function describeTagFault(type: unknown, tags: readonly string[]): string {
  if (type === undefined) return "Unable to extract tag using discriminator 'type'";
  const shown = (typeof type === 'string' ? type : (JSON.stringify(type) ?? '')).slice(0, 100);
  const expected = tags.map((entry) => `'${entry}'`).join(', ');
  return `Input tag '${shown}' found using 'type' does not match any of the expected tags: ${expected}`;
}

/** A field that the API knows in a request. */
interface KnownField {
  type: ValueType;
  /** The type and the name, as betas are listed. */
  owner: string;
}

/** Compares a request, or a part of it, with the types of the API. */
class FieldChecker {
  readonly #rules: FieldRules;
  readonly #requested: RequestedBetas;
  /** Long conversations ask for the same types for each of their blocks. */
  readonly #objects = new Map<ValueType, readonly ObjectType[]>();
  readonly #fields = new Map<string, ReadonlyMap<string, KnownField>>();

  constructor(rules: FieldRules, requested: RequestedBetas) {
    this.#rules = rules;
    this.#requested = requested;
  }

  /** @param owner the type and the field, for the values that need a beta */
  findFault(value: unknown, type: ValueType, path: string, owner: string): string | undefined {
    if (type.isAny || (value === null && type.isNullable)) return undefined;
    const { item, value: ofKeys } = type;
    if (Array.isArray(value) && item) {
      return findFirst(value, (one, index) => this.findFault(one, item, `${path}.${index}`, owner));
    }
    if (isJsonObject(value) && ofKeys) {
      return findFirst(Object.entries(value), ([key, one]) => this.findFault(one, ofKeys, `${path}.${key}`, owner));
    }
    if (isScalarOf(value, type.scalars)) return undefined;
    if (type.literals.some((one) => one === value) && this.#isAvailable(`${owner}=${String(value)}`)) return undefined;
    const objects = this.#listAvailableObjects(type);
    if (isJsonObject(value) && objects.length > 0) return this.#findObjectFault(value, objects, path);
    const literals = type.literals.filter((one) => this.#isAvailable(`${owner}=${one}`));
    return `${path}: Input should be ${describeForm(value, type, literals)}`;
  }

  #listAvailableObjects(type: ValueType): readonly ObjectType[] {
    const known = this.#objects.get(type);
    if (known) return known;
    const objects = listObjectTypes(type.names, this.#rules.types).filter(({ name }) => this.#isAvailable(name));
    this.#objects.set(type, objects);
    return objects;
  }

  #isAvailable(name: string): boolean {
    return areBetasRequested(this.#requested, this.#rules.betas[name]);
  }

  #findObjectFault(value: JsonObject, objects: readonly ObjectType[], path: string): string | undefined {
    const tags = objects.flatMap((one) => one.tags);
    // The `type` of a custom tool is optional, so a tool without one is a custom tool:
    // https://platform.claude.com/docs/en/api/messages/create
    const tag = value.type ?? (tags.includes('custom') ? 'custom' : value.type);
    const object = objects.find((one) => one.tags.length === 0 || one.tags.some((known) => known === tag));
    if (object === undefined) return `${path}: ${describeTagFault(value.type, tags)}`;
    const at = object.tags.length === 0 ? path : `${path}.${String(tag)}`;
    return this.findFieldFault(value, object, at);
  }

  /** @param path empty for the body itself, whose fields are named without their type */
  findFieldFault(value: JsonObject, object: ObjectType, path: string): string | undefined {
    const toPath = (field: string) => (path === '' ? field : `${path}.${field}`);
    const fields = this.#listAvailableFields(object, path === '');
    const names = Object.keys(value);
    const unknown = object.fields['*'] === undefined ? names.find((name) => !fields.has(name)) : undefined;
    if (unknown !== undefined) return `${toPath(unknown.slice(0, 100))}: Extra inputs are not permitted`;
    return findFirst(names, (name) => {
      const field = fields.get(name);
      return field && this.findFault(value[name], field.type, toPath(name), field.owner);
    });
  }

  #listAvailableFields({ name: type, fields }: ObjectType, isBody: boolean): ReadonlyMap<string, KnownField> {
    const known = this.#fields.get(type);
    if (known) return known;
    const available = new Map<string, KnownField>();
    for (const [name, text] of Object.entries(fields)) {
      const owner = isBody ? name : `${type}.${name}`;
      if (name !== '*' && this.#isAvailable(owner)) available.set(name, { type: parseValueType(text), owner });
    }
    this.#fields.set(type, available);
    return available;
  }
}

function findFirst<T>(list: readonly T[], find: (one: T, index: number) => string | undefined): string | undefined {
  for (const [index, one] of list.entries()) {
    const found = find(one, index);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isScalarOf(value: unknown, scalars: ReadonlySet<string>): boolean {
  if (typeof value === 'number') return scalars.has('number') || (scalars.has('integer') && Number.isInteger(value));
  return (typeof value === 'string' || typeof value === 'boolean') && scalars.has(typeof value);
}

/** @returns the API's words for what a value should be. Of several alternatives it names the one with the most structure. */
function describeForm(value: unknown, { item, value: ofKeys, names, scalars }: ValueType, literals: readonly string[]) {
  if (item) return 'a valid list';
  if (ofKeys || names.length > 0) return 'a valid dictionary or object to extract fields from';
  if (literals.length > 0) return formatQuotedList(literals);
  if (scalars.has('string')) return 'a valid string';
  if (scalars.has('integer')) {
    const isFraction = typeof value === 'number' && !Number.isInteger(value);
    return isFraction ? 'a valid integer, got a number with a fractional part' : 'a valid integer';
  }
  return scalars.has('number') ? 'a valid number' : 'a valid boolean';
}

/**
 * Finds what the API does not accept in a body: a field or a type that it does not know, or a value of another JSON type.
 *
 * @param root the type of the body
 * @returns the API's words, with the path; undefined if it accepts all fields
 */
export function findBodyFault(
  body: JsonObject,
  root: string,
  rules: FieldRules,
  requested: RequestedBetas,
): string | undefined {
  const fields = rules.types[root];
  if (fields === undefined || typeof fields === 'string') throw new TypeError(`There is no object type ${root}.`);
  return new FieldChecker(rules, requested).findFieldFault(body, { name: root, fields, tags: [] }, '');
}

/** Finds the same in a part of a body. @param type of the part, as the fields of a table have it */
export function findFieldFault(
  value: unknown,
  type: string,
  path: string,
  rules: FieldRules,
  requested: RequestedBetas,
): string | undefined {
  return new FieldChecker(rules, requested).findFault(value, parseValueType(type), path, type);
}
