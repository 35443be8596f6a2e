/** Betas that blocks of a history need: without them the API rejects each later request that contains such a block. */

import { joinBetas } from '../../claude/headers.ts';
import { getMember, type JsonObject } from '../../kit/json/object.ts';
import { parseBlocks } from './repaired-messages.ts';

/** By the type of a block. Source: block types that only the beta resources of @anthropic-ai/sdk 1.14.0 have. */
const BETA_OF_TYPE: Readonly<Record<string, string>> = {
  advisor_tool_result: 'advisor-tool-2026-03-01',
  mcp_tool_use: 'mcp-client-2025-11-20',
  mcp_tool_result: 'mcp-client-2025-11-20',
  mcp_tool_listing: 'mcp-client-2026-09-15',
  tool_addition: 'mid-conversation-tool-changes-2026-07-01',
  tool_removal: 'mid-conversation-tool-changes-2026-07-01',
  fallback: 'server-side-fallback-2026-07-01',
};
const MAY_NEED_BETA = new RegExp(`"(?:compaction|${Object.keys(BETA_OF_TYPE).join('|')})"`);

/** @returns the names of the betas that blocks need */
export function findBetasNeededByBlocks(blocks: readonly JsonObject[]): string[] {
  return blocks.flatMap((block) => {
    if (block.type !== 'compaction') return BETA_OF_TYPE[String(block.type)] ?? [];
    return getMember(block, 'signature') === undefined ? 'compact-2026-01-12' : 'compact-2026-09-04';
  });
}

/** @returns the names of the betas that new messages need */
export function findBetasNeededByMessages(messages: readonly { text: string }[]): string[] {
  return messages.flatMap(({ text }) => (MAY_NEED_BETA.test(text) ? findBetasNeededByBlocks(parseBlocks(text)) : []));
}

/** @returns headers with the betas that a conversation's blocks need */
export function addNeededBetasToHeaders<T extends Record<string, string>>(
  headers: T,
  betas: readonly string[] | undefined,
): T {
  if (!betas || betas.length === 0) return headers;
  return { ...headers, 'anthropic-beta': joinBetas(headers['anthropic-beta'], betas) };
}
