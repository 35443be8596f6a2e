/**
 * The names that the header `anthropic-beta` may have. Sources: the type `AnthropicBeta` of @anthropic-ai/sdk 1.14.0, then what
 * recorded requests of Claude Code have (test/fixtures/claude-code), then what @ai-sdk/anthropic and @langchain/anthropic add,
 * and one of the API's documentation (https://platform.claude.com/docs/en/api/beta-headers) that other clients send.
 */
export const BETA_NAMES = (
  'computer-use-2024-10-22 computer-use-2025-01-24 output-128k-2025-02-19 mcp-client-2025-04-04 mcp-client-2025-11-20 ' +
  'dev-full-thinking-2025-05-14 interleaved-thinking-2025-05-14 code-execution-2025-05-22 context-1m-2025-08-07 ' +
  'context-management-2025-06-27 model-context-window-exceeded-2025-08-26 fast-mode-2026-02-01 output-300k-2026-03-24 ' +
  'user-profiles-2026-03-24 user-profiles-2026-08-18 user-profiles-2026-09-04 advisor-tool-2026-03-01 managed-agents-2026-04-01 ' +
  'dreaming-2026-04-21 thinking-token-count-2026-05-13 server-side-fallback-2026-06-01 server-side-fallback-2026-07-01 ' +
  'fallback-credit-2026-06-01 fallback-credit-2026-07-01 agent-memory-2026-07-22 mid-conversation-tool-changes-2026-07-01 ' +
  'compact-2026-01-12 computer-use-2025-11-24 mcp-tunnels-2026-06-22 structured-outputs-2025-11-13 task-budgets-2026-03-13 ' +
  'thinking-display-updates-2026-08-18 mid-conversation-output-config-2026-07-01 thinking-binding-controls-2026-08-01 ' +
  'mid-conversation-system-clear-at-2026-08-21 compact-2026-09-04 inline-tools-2026-09-15 mcp-client-2026-09-15 ' +
  'ce-plugins-2026-09-01 spend-limit-reads-2026-09-26 telemetry-destinations-2026-08-11 webhooks-2026-10-07 ' +
  'admin-user-sign-out-2026-10-08 message-threads-2026-08-12 analytics-usage-cost-2026-08-24 ' +
  'experimental-claude-tag-2026-10-21 message-batches-2024-09-24 prompt-caching-2024-07-31 pdfs-2024-09-25 ' +
  'token-counting-2024-11-01 token-efficient-tools-2025-02-19 files-api-2025-04-14 extended-cache-ttl-2025-04-11 ' +
  'skills-2025-10-02 cache-diagnosis-2026-04-07 ce-user-management-2026-07-13 ce-claude-code-managed-settings-2026-10-06 ' +
  'efs-2026-10-01 google-managed-data-controls-2026-09-01 user-profiles-billing-2026-10-01 ' +
  'claude-code-20250219 redact-thinking-2026-02-12 prompt-caching-scope-2026-01-05 mid-conversation-system-2026-04-07 ' +
  'effort-2025-11-24 structured-outputs-2025-12-15 per-turn-control-2026-07-01 advanced-tool-use-2025-11-20 ' +
  'dangerous-tool-use-2026-09-03 afk-mode-2026-01-31 ' +
  'code-execution-2025-08-25 code-execution-web-tools-2026-02-09 web-fetch-2025-09-10 fine-grained-tool-streaming-2025-05-14'
).split(' ');

/** @returns the date at the end of a name, as `20261021`; empty for one without */
function parseBetaDate(name: string): string {
  return /-(\d{4})-?(\d{2})-?(\d{2})$/.exec(name)?.slice(1).join('') ?? '';
}

const NEWEST_BETA_DATE = BETA_NAMES.map(parseBetaDate).toSorted().at(-1) ?? '';

/** Checks whether a name is newer than the list. Unknown fields of a request with such a beta may belong to it. */
function isNewerBeta(name: string): boolean {
  return parseBetaDate(name) > NEWEST_BETA_DATE;
}

/** The betas that a request asks for. */
export interface RequestedBetas {
  readonly betas: readonly string[];
}

/** Checks whether a request asks for a beta. @param name the beginning of its name */
export function isBetaRequested({ betas }: RequestedBetas, name: string): boolean {
  return betas.some((one) => one.startsWith(name));
}

/** Checks whether a request asks for a beta that is newer than this simulator. */
export function isNewerBetaRequested({ betas }: RequestedBetas): boolean {
  return betas.some(isNewerBeta);
}

/** Checks whether a request asks for any of these betas, by the beginnings of their names; true for none. */
export function areBetasRequested(requested: RequestedBetas, names: readonly string[] | undefined): boolean {
  return names === undefined || names.some((name) => isBetaRequested(requested, name));
}

/** @returns the API's words for names that do not exist, unless they are newer than the list; undefined if all exist */
export function findUnknownBetasFault(names: readonly string[]): string | undefined {
  const unknown = names.filter((name) => !BETA_NAMES.includes(name) && !isNewerBeta(name));
  if (unknown.length === 0) return undefined;
  const shown = unknown.slice(0, 20).map((name) => `\`${name.slice(0, 100)}\``);
  return `Unexpected value(s) ${shown.join(', ')} for the \`anthropic-beta\` header. Please consult the documentation, or try again without the header.`;
}
