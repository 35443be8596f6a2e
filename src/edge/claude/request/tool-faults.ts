/**
 * Finds what the API rejects in a request's list of tools, apart from their schemas.
 *
 * The rules are those of `src/api-rules/`, which the simulator applies. Unknown callers and examples that do not fit are only
 * warned of, because no source confirms that the API rejects them. Sluice stores all of these, because a request can add tools
 * to the stored ones.
 */

import { BETA_NAMES, findUnknownBetasFault } from '../../../api-rules/betas.ts';
import { FIELD_BETAS } from '../../../api-rules/field-betas.ts';
import { findFieldFault, listAvailableTags } from '../../../api-rules/field-types.ts';
import { findToolListFaults } from '../../../api-rules/tool-list-faults.ts';
import { TOOL_TYPES } from '../../../api-rules/tool-types.ts';
import { CheckBudget, createValueChecker, type SchemaValueFault } from '../../kit/json/json-schema.ts';
import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import { resolveSchemaReferences } from '../../kit/json/schema-references.ts';

/** The stored parts that name tools. */
export interface StoredTools {
  tools: readonly JsonObject[];
  /** Undefined if each request names its own servers. */
  mcp_servers?: unknown;
  container?: unknown;
  betas?: unknown;
}

const CODE_TOOL = /^code_execution_/;
const TOOL_FIELDS = { types: TOOL_TYPES, betas: FIELD_BETAS };
/** A request can ask for any beta besides the stored ones. */
const ANY_BETAS = { betas: BETA_NAMES };
const TOOL_TAGS: ReadonlySet<unknown> = new Set(listAvailableTags('ToolUnion', TOOL_FIELDS, ANY_BETAS));

/** @returns why the API rejects the list, in sentences without a full stop; none for what it accepts */
export function findStoredToolFaults({ tools, betas, ...others }: StoredTools): string[] {
  const named = Array.isArray(betas) ? betas.map(toJsonText) : [];
  const unknown = findUnknownBetasFault(named);
  const types = new Set(tools.map(({ type }) => type));
  const budget = new CheckBudget();
  return [
    ...(unknown === undefined ? [] : [unknown]),
    ...findToolListFaults({ tools, ...others }, { betas: named }),
    ...tools.flatMap((tool, index) => findToolFaults(tool, `tools.${index}`, { types, budget })),
  ];
}

function findToolFaults(
  tool: JsonObject,
  path: string,
  { types, budget }: { types: ReadonlySet<unknown>; budget: CheckBudget },
): string[] {
  const { allowed_domains: allowed, blocked_domains: blocked } = tool;
  // Skip the field check for a tool type that the table does not list: it may be newer and have other fields.
  const isKnown = TOOL_TAGS.has(tool.type ?? 'custom');
  const ofFields = isKnown ? findFieldFault(tool, 'ToolUnion', path, TOOL_FIELDS, ANY_BETAS) : undefined;
  const example = findExampleFault(tool, budget);
  return [
    ...(ofFields === undefined ? [] : [ofFields]),
    ...(Array.isArray(allowed) && Array.isArray(blocked)
      ? [`${path}: only one of \`allowed_domains\` and \`blocked_domains\` may be given`]
      : []),
    ...findUnknownCallers(tool, types).map((name) => `${path}.allowed_callers: there is no tool of the type ${name}`),
    ...(example === undefined || example.isUnchecked ? [] : [`${path}.${example.problem}`]),
  ];
}

/** @returns the callers of a tool that are not among the types of the tools */
export function findUnknownCallers({ allowed_callers }: JsonObject, types: ReadonlySet<unknown>): string[] {
  const callers = Array.isArray(allowed_callers) ? allowed_callers.map(toJsonText) : [];
  return callers.filter((name) => CODE_TOOL.test(name) && !types.has(name));
}

/**
 * @param budget for the tools of a list
 * @returns what is wrong with the first example that does not fit the tool's schema, or whose check would take too long;
 *   undefined if all fit
 */
export function findExampleFault(
  { input_examples, input_schema }: JsonObject,
  budget: CheckBudget,
): Pick<SchemaValueFault, 'problem' | 'isUnchecked'> | undefined {
  if (!Array.isArray(input_examples) || !isObject(input_schema)) return undefined;
  const { schema } = resolveSchemaReferences(input_schema);
  const check = schema && createValueChecker(schema, { root: 'input', budget });
  for (const [index, example] of input_examples.entries()) {
    const fault = check?.(example);
    if (fault) return { ...fault, problem: `input_examples.${index}: ${fault.path}: ${fault.problem}` };
  }
  return undefined;
}
