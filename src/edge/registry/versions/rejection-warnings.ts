import { findRejectedSchemaParts } from '../../claude/request/schema-faults.ts';
import { findStoredToolFaults, type StoredTools } from '../../claude/request/tool-faults.ts';
import { toJsonText } from '../../kit/json/object.ts';
import { createToolForModel } from '../tools/edge-tools.ts';

/**
 * Warns of tools and schemas that the API will reject. Sluice stores them anyway: the API judges, and may accept more tomorrow.
 *
 * @param stored the stored tools. For a prefix, `mcp_servers` is undefined because requests name the servers
 * @returns a sentence for each, in the API's words
 */
export function findRejectionWarnings({
  tools,
  output_config,
  ...others
}: StoredTools & { output_config?: unknown }): string[] {
  const up = tools.map(createToolForModel).filter((tool) => tool !== undefined);
  const ofSchemas = findRejectedSchemaParts({ tools: up, output_config }).map(({ problem, path: at, tool }) => {
    const name = tool === undefined ? [] : [`the tool ${toJsonText(up[tool]?.name)}`];
    const where = [...name, ...(at === '' ? [] : [`at ${at}`])].join(', ');
    return `${problem}${where === '' ? '' : ` (${where})`}`;
  });
  const ofList = findStoredToolFaults({ ...others, tools: up });
  return [...ofSchemas, ...ofList].flatMap(createRejectionWarning);
}

/** @returns a fault in the API's words as a warning; none for undefined */
export function createRejectionWarning(fault: string | undefined): string[] {
  return fault === undefined ? [] : [`Claude will reject requests with this: ${fault}`];
}
