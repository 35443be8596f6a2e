/** Checks fields that an entry sets for all tools of its server. Claude does not accept every field for every tool. */

import { areAllDeferred } from '../../../../api-rules/tool-list-faults.ts';
import {
  countOptionalProperties,
  findRejectedSchemaParts,
  MAX_OPTIONAL_PROPERTIES,
  MAX_STRICT_TOOLS,
} from '../../../claude/request/schema-faults.ts';
import { findExampleFault, findUnknownCallers } from '../../../claude/request/tool-faults.ts';
import { CheckBudget } from '../../../kit/json/json-schema.ts';
import { isObject, type JsonObject, toJsonText } from '../../../kit/json/object.ts';

/** The tools of an entry, and whether an MCP server has listed them. */
interface EntryTools {
  tools: readonly unknown[];
  isServer: boolean;
}

/**
 * Removes the fields of an entry that Claude would reject for the server's tools. Otherwise it would reject every request.
 *
 * @param entries the whole list, by its entries
 * @param warn called once for each reason, with the position of the entry
 * @returns the tools of all entries
 */
export function removeRejectedFields(
  entries: readonly EntryTools[],
  warn: (entry: number, sentence: string) => void,
): unknown[] {
  const all = entries.flatMap(({ tools }) => tools.filter(isObject));
  const isDeferred = areAllDeferred(all);
  const types = new Set(all.map(({ type }) => type));
  const budget = new CheckBudget();
  const strict = new StrictTools();
  for (const { tools, isServer } of entries)
    if (!isServer) for (const tool of tools) if (isStrict(tool)) strict.add(tool);
  return entries.flatMap(({ tools, isServer }, entry) => {
    if (!isServer) return tools;
    const reasons = new Set<string>();
    const fitted = tools.map((tool) => {
      if (!isObject(tool)) return tool;
      const fit = { ...tool };
      const omit = (field: string, why: string) => {
        delete fit[field];
        reasons.add(`${field} is left out, because ${why}.`);
      };
      if (isDeferred) omit('defer_loading', 'Claude needs a tool that is not deferred. Add a tool search tool');
      const unknown = findUnknownCallers(fit, types);
      if (unknown.length > 0) omit('allowed_callers', `there is no tool of the type ${unknown.join(', ')}`);
      const example = findExampleFault(fit, budget);
      if (example) omit('input_examples', `the tool ${toJsonText(fit.name)} does not accept ${example.problem}`);
      const fault = isStrict(fit) ? strict.findFault(fit) : undefined;
      if (fault !== undefined) omit('strict', `Claude rejects it for the tool ${toJsonText(fit.name)}: ${fault}`);
      else if (isStrict(fit)) strict.add(fit);
      return fit;
    });
    for (const reason of reasons) warn(entry, reason);
    return fitted;
  });
}

/** Counts the strict tools of a request, and their optional parameters. */
class StrictTools {
  #count = 0;
  #optional = 0;

  add({ input_schema }: JsonObject): void {
    this.#count += 1;
    this.#optional += isObject(input_schema) ? countOptionalProperties(input_schema) : 0;
  }

  /** @returns why the API rejects another strict tool, as the end of a sentence; undefined if it accepts the tool */
  findFault(tool: JsonObject): string | undefined {
    const [own] = findRejectedSchemaParts({ tools: [tool] });
    if (own) return own.problem.replace(/^tools\.0\.custom\.input_schema: /, '');
    if (this.#count >= MAX_STRICT_TOOLS) return `a request can have at most ${MAX_STRICT_TOOLS} strict tools`;
    const optional = this.#optional + (isObject(tool.input_schema) ? countOptionalProperties(tool.input_schema) : 0);
    if (optional > MAX_OPTIONAL_PROPERTIES)
      return `its strict tools can have at most ${MAX_OPTIONAL_PROPERTIES} optional parameters together`;
    return undefined;
  }
}

function isStrict(tool: unknown): tool is JsonObject {
  return isObject(tool) && tool.strict === true;
}
