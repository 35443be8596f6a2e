import { isBetaRequested } from '../../api-rules/betas.ts';
import type { Json, JsonObject } from '../../api-rules/json.ts';
import type { Digest } from '../random/digest.ts';
import { verifySummarySignature } from '../random/signatures.ts';
import { ApiError, createInvalidRequestError } from './errors.ts';
import {
  readOptionalString,
  readRequiredList,
  readRequiredObject,
  readRequiredType,
  rejectUnknownKeys,
} from './fields.ts';
import type { RequestMessage, RequestProtocol } from './message-request.ts';

const KEYS = new Set(['type', 'content', 'encrypted_content', 'signature', 'tool_changes', 'cache_control']);

/** Creates a 400 with a code for which the official SDKs have a separate error class. */
export function createCompactionRejectedError(code: string, message: string): ApiError {
  return new ApiError(400, message, {}, { error_code: `compaction_${code}` });
}

/**
 * Checks a `compaction` block by itself: its members, and that its beta was asked for.
 * @throws ApiError 400 in the API's words.
 */
export function validateCompactionBlock(block: JsonObject, path: string, protocol: RequestProtocol): void {
  // The API accepts only the fields that its own compaction blocks have, whatever betas are requested:
  // https://platform.claude.com/docs/en/build-with-claude/compaction
  rejectUnknownKeys(block, KEYS, path);
  const content = readOptionalString(block.content, `${path}.content`);
  if (content === '') throw createInvalidRequestError(`${path}.content: compaction content must be non-empty`);
  readOptionalString(block.encrypted_content, `${path}.encrypted_content`);
  const signature = readOptionalString(block.signature, `${path}.signature`);
  for (const [index, entry] of readRequiredList(block.tool_changes ?? [], `${path}.tool_changes`).entries()) {
    const at = `${path}.tool_changes.${index}`;
    readRequiredType(readRequiredObject(entry, at), ['tool_addition', 'tool_removal'], at);
  }
  if (signature !== undefined && !isBetaRequested(protocol, 'compact-2026-09-04')) {
    throw createInvalidRequestError(`${path}: \`signature\` requires anthropic-beta: compact-2026-09-04`);
  }
  if (content !== undefined && signature === undefined && !isBetaRequested(protocol, 'compact-2026-01-12')) {
    throw createInvalidRequestError(`${path}: a \`compaction\` block with \`content\` requires its \`signature\``);
  }
}

export function hasCompactionContent({ type, content }: JsonObject): boolean {
  return type === 'compaction' && typeof content === 'string';
}

function hasSignature({ signature }: JsonObject): boolean {
  return typeof signature === 'string';
}

/**
 * Checks whether a block belongs to no turn of the conversation. A signed summary precedes all turns, and a failed one has no
 * content. An unsigned summary, which the API creates at a token threshold, stays in its turn.
 */
export function isBlockOutsideTurns(block: JsonObject): boolean {
  return block.type === 'compaction' && (hasSignature(block) || !hasCompactionContent(block));
}

/** Finds the summary that a conversation begins with. */
export function findLeadingSummary(messages: readonly RequestMessage[]): JsonObject | undefined {
  const first = messages[0]?.blocks[0];
  return first !== undefined && hasCompactionContent(first) ? first : undefined;
}

/** A signed summary, and the digests of the conversations that it stands for. */
interface VerifiedSummary {
  signature: string;
  prefixes: readonly string[];
}

/**
 * Finds the signed summary that a conversation begins with, and checks that it is as the API has made it. Those of the
 * API's older way have no signature, and may stand anywhere.
 *
 * @throws ApiError 400 with the code of the rule that is broken.
 */
export function verifyLeadingSignedSummary(
  messages: readonly RequestMessage[],
  seed: Digest,
): VerifiedSummary | undefined {
  const found = messages.flatMap(({ role, blocks }, message) =>
    blocks.flatMap((block, index) => (hasCompactionContent(block) ? [{ block, role, message, index }] : [])),
  );
  const signed = found.find(({ block }) => hasSignature(block));
  if (signed === undefined) return undefined;
  if (found.length > 1) {
    throw createCompactionRejectedError(
      'block_ambiguous',
      'messages: more than one `compaction` block with content. Send only the block that was returned last.',
    );
  }
  const { block, role, message, index } = signed;
  const path = `messages.${message}.content.${index}.compaction`;
  // [?] The API's documentation does not say whether blocks of failed compactions may precede the block with a summary. The
  // simulator rejects them.
  if (role === 'system' || message > 0 || index > 0) {
    throw createCompactionRejectedError(
      'block_misplaced',
      `${path}: the \`compaction\` block must be the first block of the first message, which is no \`system\` message. Remove the messages that it summarizes.`,
    );
  }
  const { content, encrypted_content: encrypted = null, tool_changes: changes = null } = block;
  const signature = String(block.signature);
  const sealed = verifySummarySignature(
    signature,
    { content: String(content), changes: stringifyWithSortedKeys(changes) },
    seed,
  );
  if (typeof sealed !== 'string' && encrypted === null) return { signature, prefixes: sealed };
  const verbatim = 'Send the block exactly as it was returned.';
  if (sealed === 'content') {
    throw createCompactionRejectedError(
      'content_mismatch',
      `${path}.content: it is not the text that was signed. ${verbatim}`,
    );
  }
  if (sealed === 'changes') {
    throw createCompactionRejectedError(
      'tool_changes_mismatch',
      `${path}.tool_changes: they are not those that were returned. ${verbatim}`,
    );
  }
  throw createCompactionRejectedError(
    'signature_invalid',
    `${path}: the block's \`signature\` does not verify. ${verbatim}`,
  );
}

/** Writes JSON whose members are in the order of their names, since clients may change that order. */
export function stringifyWithSortedKeys(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(stringifyWithSortedKeys).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${stringifyWithSortedKeys(value[name] ?? null)}`).join()}}`;
}
