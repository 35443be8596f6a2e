/** The SDK's request types as the tables of `src/api-rules/`: each type, its fields, and what each field can be. */

import { type Member, membersOf, type ObjectShape, type SdkTypes, type Shape } from './types.ts';

/** Numbers that can have a fraction. The SDK's types do not distinguish integers. */
const FRACTIONAL_FIELDS = new Set(['temperature', 'top_p']);

/** The SDK sends it as a header. */
const HEADER_FIELD = 'betas';

/** Of Biome's settings. It does not break behind a shorter key. */
const LINE_WIDTH = 120;
const MIN_BREAKABLE_KEY = 5;

/** Unions of fewer types are written where they are used. */
const MIN_NAMED_UNION = 4;

/** The name of a type as both tables have it: the beta's types have the names of the others. */
function toTypeName(name: string): string {
  return name.replaceAll(/\bBeta(?=[A-Z])/g, '');
}

function isTag(shape: Shape): boolean {
  return shape.kind === 'literal' || (shape.kind === 'union' && shape.variants.every(isTag));
}

/** @returns whether objects of this shape say their type */
function isTagged(shape: Shape): boolean {
  return membersOf(shape).some((member) => member.name === 'type' && isTag(member.shape));
}

/** @returns the variants of a shape that no other of its variants includes */
function listVariants(shape: Shape): readonly Shape[] {
  const all = shape.kind === 'union' ? shape.variants : [shape];
  const isString = all.some(({ kind }) => kind === 'string');
  return all.filter((one) => !(isString && one.kind === 'literal' && typeof one.value === 'string'));
}

/** Joins what a field can be in several types. Of two lists, one that can have all items of the other is enough. */
function joinShapes(shapes: readonly Shape[]): Shape {
  const [first] = shapes;
  if (first && shapes.every((one) => one === first)) return first;
  const variants = [...new Set(shapes.flatMap(listVariants))];
  const lists = variants.flatMap((one) => (one.kind === 'list' ? [one] : []));
  const widest = lists.toSorted((a, b) => listVariants(b.item).length - listVariants(a.item).length).at(0);
  return { kind: 'union', name: '', variants: variants.filter((one) => one.kind !== 'list' || one === widest) };
}

/** Writes types as tables. */
class RequestTypeWriter {
  readonly #types = new Map<string, Readonly<Record<string, string>> | string>();
  readonly #nameByFields = new Map<string, string>();

  /** @returns what a value of this shape can be, in the words of the tables; its types are added to them */
  describe(shape: Shape, field = ''): string {
    const isTaglessUnion =
      shape.kind === 'union' &&
      shape.variants.length > 1 &&
      shape.variants.every((one) => one.kind === 'object' && !isTagged(one));
    if (isTaglessUnion) {
      return this.#addObject({ name: shape.name, members: this.#joinMembers(shape.variants) });
    }
    const variants = listVariants(shape);
    const texts = [...new Set(variants.map((one) => this.#describeVariant(one, field)))];
    const isNamed =
      shape.kind === 'union' && /^\w+$/.test(shape.name) && variants.some(({ kind }) => kind === 'object');
    if (!isNamed || texts.length < MIN_NAMED_UNION) return texts.join('|');
    const name = toTypeName(shape.name);
    this.#types.set(name, texts.join('|'));
    return name;
  }

  /** @returns the types that were described, by their names */
  get types(): TypeTable {
    return this.#types;
  }

  #joinMembers(shapes: readonly Shape[]): Member[] {
    const names = [...new Set(shapes.flatMap((one) => membersOf(one).map(({ name }) => name)))];
    return names.map((name) => {
      const own = shapes.flatMap((one) => membersOf(one).filter((member) => member.name === name));
      return { name, optional: true, shape: joinShapes(own.map(({ shape }) => shape)) };
    });
  }

  #describeVariant(shape: Shape, field: string): string {
    switch (shape.kind) {
      case 'object':
        return this.#addObject(shape);
      case 'union':
        return this.describe(shape, field);
      case 'list':
        return `[${this.describe(shape.item, field)}]`;
      case 'map':
        return `{${this.describe(shape.value, field)}}`;
      case 'literal':
        return typeof shape.value === 'boolean' ? 'boolean' : JSON.stringify(shape.value);
      case 'number':
        return FRACTIONAL_FIELDS.has(field) ? 'number' : 'integer';
      case 'other':
        throw new Error(`${field}: ${shape.name} is no JSON type. Teach test/support/sdk/types.ts to read it.`);
      default:
        return shape.kind;
    }
  }

  /** @returns the name of an object: that of an equal one without a tag, if there is one */
  #addObject(shape: Pick<ObjectShape, 'name' | 'members'> & { isOpen?: boolean }): string {
    const { members, isOpen = false } = shape;
    const name = toTypeName(shape.name);
    if (this.#types.has(name)) return name;
    // Reserved first, because a type may contain itself.
    const fields: Record<string, string> = {};
    this.#types.set(name, fields);
    for (const member of members) {
      if (member.name !== HEADER_FIELD) fields[member.name] = this.describe(member.shape, member.name);
    }
    if (isOpen) fields['*'] = 'any';
    if (members.some((member) => member.name === 'type' && isTag(member.shape))) return name;
    const text = JSON.stringify(fields);
    const equal = this.#nameByFields.get(text);
    if (equal === undefined) this.#nameByFields.set(text, name);
    else this.#types.delete(name);
    return equal ?? name;
  }
}

type TypeTable = ReadonlyMap<string, Readonly<Record<string, string>> | string>;

/** Writes a field of an object as Biome formats it. */
function renderField(indent: string, name: string, text: string): string {
  const key = `${indent}${/^\w+$/.test(name) ? name : `'${name}'`}:`;
  const line = `${key} '${text}',\n`;
  const isOneLine = line.length <= LINE_WIDTH + 1 || name.length < MIN_BREAKABLE_KEY;
  return isOneLine ? line : `${key}\n${indent}  '${text}',\n`;
}

function renderTypes(types: TypeTable): string {
  return [...types]
    .map(([name, fields]) => {
      if (typeof fields === 'string') return renderField('  ', name, fields);
      const own = Object.entries(fields).map(([field, text]) => renderField('    ', field, text));
      const key = /^\w+$/.test(name) ? name : `'${name}'`;
      return own.length === 0 ? `  ${key}: {},\n` : `  ${key}: {\n${own.join('')}  },\n`;
    })
    .join('');
}

const HEADER = `/**
 * Written by test/api-rules/request-types.test.ts from the types of @anthropic-ai/sdk. Do not edit it. After an update of the SDK,
 * run \`npx vitest run test/api-rules/request-types.test.ts --update\`. field-types.ts explains the notation.
 */

import type { TypeTable } from './field-types.ts';
`;

/**
 * Writes the modules with the types of requests.
 *
 * @returns the source of the types of tools, which the edge reads as well, and that of all others
 */
export function renderRequestTypes(types: SdkTypes): { tools: string; others: string } {
  const file = 'resources/beta/messages/messages.d.ts';
  const writer = new RequestTypeWriter();
  writer.describe(types.readShape(file, 'BetaToolUnion'));
  const tools = new Map(writer.types);
  for (const root of ['MessageCreateParams', 'MessageCountTokensParams']) writer.describe(types.readShape(file, root));
  const others = new Map([...writer.types].filter(([name]) => !tools.has(name)));
  return {
    tools: `${HEADER}\nexport const TOOL_TYPES: TypeTable = {\n${renderTypes(tools)}};\n`,
    others: `${HEADER}import { TOOL_TYPES } from './tool-types.ts';\n\nexport const REQUEST_TYPES: TypeTable = {\n  ...TOOL_TYPES,\n${renderTypes(others)}};\n`,
  };
}
