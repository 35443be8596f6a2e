import { filterStrings, isJsonObject, type Json, type JsonObject, readOwnMember } from '../../api-rules/json.ts';
import type { RandomSource } from '../random/digest.ts';
import { rankLabelsByText } from '../text/labels.ts';
import { listContentStems } from '../text/words.ts';
import { satisfiesSchema } from './schema-check.ts';
import { expandToPlainSchemas, listSchemaTypes, readNumberKeyword, type SchemaSearchBudget } from './schema-forms.ts';
import { createSchemaNumber, createSchemaString } from './schema-scalars.ts';

/** The source of a value, besides its schema. */
export interface SchemaValueSource {
  /** The last thing that the user said. */
  text: string;
  /** The text that describes labels: the system prompt. */
  descriptions: string;
  /** Leaves out what the schema does not require. Default false: what the text speaks of is there as well. */
  requiredOnly?: boolean;
  random: RandomSource;
}

/** Below this depth lists stay empty and optional properties are left out, so that recursive schemas come to an end. */
const FULL_DETAIL_DEPTH = 3;
const MAX_VALUE_DEPTH = 40;
const MAX_LIST_ITEMS = 1000;
/** How many values are made for one schema, and how many steps are taken to find out what they may be. */
const MAX_VALUES = 5000;
const MAX_SEARCH_STEPS = 100_000;

class SchemaValueGenerator {
  readonly #source: SchemaValueSource;
  readonly #stems: Set<string>;
  readonly #search: SchemaSearchBudget;
  #valueCount = 0;

  constructor(root: JsonObject, source: SchemaValueSource) {
    this.#search = { root, remainingSteps: MAX_SEARCH_STEPS };
    this.#source = source;
    this.#stems = listContentStems(source.text);
  }

  createValue(schema: Json, name: string, depth: number, variant: number): Json {
    if (this.#valueCount > MAX_VALUES) return null;
    const forms = expandToPlainSchemas(schema, this.#search, (branches) => this.#rankSchemaBranches(branches, depth));
    let first: Json | undefined;
    for (const form of forms) {
      const value = this.#createPlainValue(form, name, depth, variant);
      first ??= value;
      if (satisfiesSchema(value, schema, this.#search)) return value;
    }
    return first ?? null;
  }

  /** Ranks branches by what they share with the text; null last, but first where values must not nest any deeper. */
  #rankSchemaBranches(branches: JsonObject[], depth: number): JsonObject[] {
    const isNull = (branch: JsonObject): boolean => branch.type === 'null' || branch.const === null;
    const nulls = branches.filter(isNull);
    const labelled = new Map<string, JsonObject>();
    for (const [index, branch] of branches.filter((entry) => !isNull(entry)).entries()) {
      labelled.set(`${joinBranchTexts(branch)} ${index}`, branch);
    }
    const order = rankLabelsByText([...labelled.keys()], { text: this.#source.text, descriptions: '' });
    const rest = order.map((label) => labelled.get(label)).filter((branch) => branch !== undefined);
    return depth > FULL_DETAIL_DEPTH ? [...nulls, ...rest] : [...rest, ...nulls];
  }

  #createPlainValue(form: JsonObject, name: string, depth: number, variant: number): Json {
    this.#valueCount++;
    const only = form.const;
    if (only !== undefined) return only;
    const choices = form.enum;
    if (Array.isArray(choices)) return this.#chooseEnumValue(choices, form, variant);
    const { text, random } = this.#source;
    const types = listSchemaTypes(form);
    switch (types.find((type) => type !== 'null') ?? types[0] ?? 'string') {
      case 'object':
        return this.#createObject(form, depth, variant);
      case 'array':
        return this.#createList(form, name, depth);
      case 'integer':
        return createSchemaNumber(form, text, variant, true);
      case 'number':
        return createSchemaNumber(form, text, variant, false);
      case 'boolean':
        return [...listContentStems(name)].some((word) => this.#stems.has(word)) !== (variant % 2 === 1);
      case 'null':
        return null;
      default: {
        const string = createSchemaString(form, name, text, variant, random);
        // Count a long string as several values, so that many long strings also reach the limit.
        this.#valueCount += Math.floor(string.length / 1000);
        return string;
      }
    }
  }

  #chooseEnumValue(choices: Json[], form: JsonObject, variant: number): Json {
    const { enum: _, ...rest } = form;
    const allowed = choices.filter((choice) => satisfiesSchema(choice, rest, this.#search));
    const labels = filterStrings(allowed);
    const description = form.description;
    const descriptions = `${this.#source.descriptions}\n${typeof description === 'string' ? description : ''}`;
    const ranked = rankLabelsByText(labels, { text: this.#source.text, descriptions });
    const others = allowed.filter((choice) => typeof choice !== 'string' && choice !== null);
    const inOrder: Json[] = [...ranked, ...others, ...allowed.filter((choice) => choice === null)];
    return inOrder[variant % Math.max(1, inOrder.length)] ?? choices[0] ?? null;
  }

  #createList(form: JsonObject, name: string, depth: number): Json[] {
    const least = readNumberKeyword(form, 'minItems') ?? 0;
    const usual = depth > FULL_DETAIL_DEPTH ? 0 : 1;
    const length = Math.min(
      Math.max(least, usual),
      readNumberKeyword(form, 'maxItems') ?? MAX_LIST_ITEMS,
      MAX_LIST_ITEMS,
    );
    const first = form.prefixItems;
    const prefix = Array.isArray(first) ? first : [];
    const rest = form.items ?? true;
    const contained = form.contains;
    const items: Json[] = [];
    const seen = new Set<string>();
    const isUnique = form.uniqueItems === true;
    for (let variant = 0; items.length < Math.max(length, Math.min(prefix.length, least)); variant++) {
      if (depth > MAX_VALUE_DEPTH || this.#valueCount > MAX_VALUES || variant > 2 * MAX_LIST_ITEMS) break;
      const own = prefix[items.length] ?? rest;
      if (own === false) break;
      const schema = contained !== undefined && items.length === 0 ? { allOf: [own, contained] } : own;
      const item = this.createValue(schema, name.replace(/s$/, ''), depth + 1, variant);
      const key = JSON.stringify(item);
      if (isUnique && seen.has(key)) continue;
      seen.add(key);
      items.push(item);
    }
    return items;
  }

  #createObject(form: JsonObject, depth: number, variant: number): JsonObject {
    const declared = form.properties;
    const properties = isJsonObject(declared) ? declared : {};
    const wanted = this.#choosePropertyNames(form, properties, depth);
    const other = form.additionalProperties ?? true;
    const entries: [string, Json][] = [];
    for (const name of wanted) {
      const schema = readOwnMember(properties, name) ?? (other === false ? true : other);
      if (schema === false || depth > MAX_VALUE_DEPTH) continue;
      entries.push([name, this.createValue(schema, name, depth + 1, variant)]);
    }
    return Object.fromEntries(entries);
  }

  /** Chooses properties, in the schema's order: the required ones, as many as the bounds ask for, and those that the text mentions. */
  #choosePropertyNames(form: JsonObject, properties: JsonObject, depth: number): string[] {
    const names = Object.keys(properties);
    const wanted = new Set(filterStrings(form.required));
    const most = readNumberKeyword(form, 'maxProperties') ?? Number.POSITIVE_INFINITY;
    const optional = names.filter((name) => !wanted.has(name) && properties[name] !== false);
    const spokenOf = optional.filter((name) => this.#isPropertyMentioned(name, properties[name] ?? true));
    const chosen = wanted.size === 0 && spokenOf.length === 0 ? optional.slice(0, 3) : spokenOf;
    if (depth < FULL_DETAIL_DEPTH && !this.#source.requiredOnly)
      for (const name of chosen) if (wanted.size < most) wanted.add(name);
    const dependent = form.dependentRequired;
    if (isJsonObject(dependent)) {
      // Iterating over a set also visits values added during the loop, so the dependencies of added properties are added, too.
      for (const name of wanted) for (const needed of filterStrings(readOwnMember(dependent, name))) wanted.add(needed);
    }
    const least = Math.min(readNumberKeyword(form, 'minProperties') ?? 0, MAX_LIST_ITEMS);
    for (const name of optional) if (wanted.size < least) wanted.add(name);
    for (let index = 1; wanted.size < least; index++) wanted.add(`property_${index}`);
    const inOrder = names.filter((name) => wanted.has(name));
    return [...inOrder, ...[...wanted].filter((name) => !Object.hasOwn(properties, name))];
  }

  #isPropertyMentioned(name: string, schema: Json): boolean {
    const description = isJsonObject(schema) ? schema.description : undefined;
    const stems = listContentStems(`${name} ${typeof description === 'string' ? description : ''}`);
    return [...stems].some((word) => this.#stems.has(word));
  }
}

/** @returns the texts that distinguish the branches of an alternative: title, description, constants */
function joinBranchTexts(branch: JsonObject): string {
  const properties = branch.properties;
  const inner = isJsonObject(properties) ? Object.values(properties).filter(isJsonObject) : [];
  return [branch, ...inner]
    .flatMap((schema) => ['title', 'description', 'const'].map((key) => readOwnMember(schema, key)))
    .filter((sign) => typeof sign === 'string')
    .join(' ')
    .slice(0, 500);
}

/**
 * Makes a value that satisfies a JSON schema and is, where names and labels allow it, about the user's text. Without randomness
 * of its own: the same schema and source give the same value. Where a schema cannot be satisfied (or asks for a thousand items
 * and more), the value comes near.
 */
export function createSchemaValue(schema: JsonObject, source: SchemaValueSource): Json {
  return new SchemaValueGenerator(schema, source).createValue(schema, '', 0, 0);
}
