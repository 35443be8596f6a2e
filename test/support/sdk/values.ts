/** Values of the SDK's types: the least one of a type, and one for each member and each variant that it can have. */

import type { Member, ObjectShape, Shape } from './types.ts';

type Value = unknown;

/** A value that has something once, and is otherwise the least of its type. */
export interface Case {
  /** `Interface.member`, or `Union › variant`. */
  name: string;
  value: Value;
  /** The same with a member or a variant beside it, or in its place, that nobody knows; undefined where there can be none. */
  unknownVariant: Value;
  /** The member that the case is about; undefined for a variant. */
  member?: Member;
}

/** A name that no API has. */
export const UNKNOWN_NAME = 'no_such_thing';

/** Makes values of the SDK's types. It goes into each type once, so that what it makes is as long as the types are. */
export class ValueGenerator {
  readonly #samples: Readonly<Record<string, Value>>;
  readonly #seen = new Set<Shape>();

  /** @param samples what stands in members where a type says less than the API wants: by `Interface.member`, or by the name alone */
  constructor(samples: Readonly<Record<string, Value>>) {
    this.#samples = samples;
  }

  /** @returns the least value of a type. @param name of the member that it is for, as `Interface.member` */
  createLeast(shape: Shape, name = ''): Value {
    const sample = this.#samples[name] ?? this.#samples[name.slice(name.lastIndexOf('.') + 1)];
    if (sample !== undefined && shape.kind !== 'literal') return sample;
    switch (shape.kind) {
      case 'object':
        return this.#createLeastObject(shape);
      case 'union': {
        const first = shape.variants.find((one) => !isNull(one));
        return first ? this.createLeast(first, name) : null;
      }
      case 'list':
        return [this.createLeast(shape.item, name)];
      case 'literal':
        return shape.value;
      case 'number':
        return 1;
      case 'boolean':
        return true;
      case 'any':
      case 'map':
        return {};
      default:
        return 'x';
    }
  }

  #createLeastObject({ name, members }: ObjectShape): Record<string, Value> {
    const required = members.filter(({ optional }) => !optional);
    return Object.fromEntries(
      required.map((member) => [member.name, this.createLeast(member.shape, `${plainTypeName(name)}.${member.name}`)]),
    );
  }

  /**
   * Makes a value for each member and variant within a type that was not met before. It goes wide before it goes deep, so that
   * what a type allows in several places is tried where it stands highest.
   */
  *generateCases(shape: Shape): Generator<Case> {
    const waiting: { shape: Shape; name: string; wrap: (value: Value) => Value }[] = [
      { shape, name: '', wrap: (value) => value },
    ];
    for (const { shape, name, wrap } of waiting) {
      if (shape.kind === 'list') waiting.push({ shape: shape.item, name, wrap: (value) => wrap([value]) });
      if ((shape.kind !== 'object' && shape.kind !== 'union') || this.#seen.has(shape)) continue;
      this.#seen.add(shape);
      if (shape.kind === 'object') {
        const least = this.#createLeastObject(shape);
        for (const member of shape.members) {
          const own = `${plainTypeName(shape.name)}.${member.name}`;
          const wrapCase = (value: Value) => ({ ...least, [member.name]: value });
          const value = wrapCase(this.createLeast(member.shape, own));
          yield {
            name: `${shape.name}.${member.name}`,
            value: wrap(value),
            unknownVariant: wrap({ ...value, [UNKNOWN_NAME]: 1 }),
            member,
          };
          waiting.push({ shape: member.shape, name: own, wrap: (inner) => wrap(wrapCase(inner)) });
        }
        continue;
      }
      const isOpen = shape.variants.some(({ kind }) => kind === 'string');
      for (const variant of shape.variants) {
        const value = this.createLeast(variant, name);
        const strange = isOpen ? undefined : createUnknownVariant(variant, value);
        yield {
          name: `${shape.name} › ${labelOf(variant)}`,
          value: wrap(value),
          unknownVariant: strange === undefined ? undefined : wrap(strange),
        };
        waiting.push({ shape: variant, name, wrap });
      }
    }
  }
}

/** @returns the name of a type without the word that sets the beta's apart */
function plainTypeName(name: string): string {
  return name.replace(/^Beta/, '');
}

type JsonKind = 'null' | 'boolean' | 'number' | 'string' | 'list' | 'object';

/** A value of each JSON type. Nothing knows the string. */
const VALUE_OF_KIND: Readonly<Record<JsonKind, Value>> = {
  null: null,
  boolean: true,
  number: 1,
  string: UNKNOWN_NAME,
  list: [],
  object: {},
};

function listKinds(shape: Shape): readonly JsonKind[] {
  switch (shape.kind) {
    case 'union':
      return shape.variants.flatMap(listKinds);
    case 'map':
      return ['object'];
    case 'literal':
      return shape.value === null ? ['null'] : [typeof shape.value as JsonKind];
    case 'any':
    case 'other':
      return Object.keys(VALUE_OF_KIND) as JsonKind[];
    default:
      return [shape.kind];
  }
}

/** @returns a value of each JSON type that a type does not allow, and lists of such values where it allows lists */
export function listWrongValues(shape: Shape): Value[] {
  const allowed = listKinds(shape);
  const kinds = (Object.keys(VALUE_OF_KIND) as JsonKind[]).filter((kind) => !allowed.includes(kind));
  const lists = (shape.kind === 'union' ? shape.variants : [shape]).filter((one) => one.kind === 'list');
  const items = lists.length === 1 ? lists.flatMap(({ item }) => listWrongValues(item)) : [];
  return [...kinds.map((kind) => VALUE_OF_KIND[kind]), ...items.map((item) => [item])];
}

function isNull(shape: Shape): boolean {
  return shape.kind === 'literal' && shape.value === null;
}

function tagOf(shape: Shape): string | undefined {
  const tag = shape.kind === 'object' ? shape.members.find(({ name }) => name === 'type')?.shape : undefined;
  return tag?.kind === 'literal' ? String(tag.value) : undefined;
}

/** @returns what tells a variant from the others: its tag, its value, or its name */
function labelOf(shape: Shape): string {
  if (shape.kind === 'literal') return String(shape.value);
  return tagOf(shape) ?? ('name' in shape ? shape.name : shape.kind);
}

function createUnknownVariant(variant: Shape, value: Value): Value {
  if (variant.kind === 'literal') return typeof variant.value === 'string' ? UNKNOWN_NAME : undefined;
  return tagOf(variant) === undefined ? undefined : { ...(value as object), type: UNKNOWN_NAME };
}
