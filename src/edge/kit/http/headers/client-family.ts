/** Matches the Vercel AI SDK, as `ai/…` or by the name of its provider. */
const AI_SDK = /(^|\s)(ai|ai-sdk[/-][\w.-]+)\/\d/i;
/** Matches the official SDKs, with the language of the SDK. Version 1.x sends no `x-stainless-lang`. */
const OFFICIAL_SDK = /^(?:Async)?Anthropic\/(\w+)/i;

/** The kinds of clients that are distinguished. */
export const CLIENT_FAMILIES = [
  'claude-code',
  'anthropic-sdk-typescript',
  'anthropic-sdk-python',
  'anthropic-sdk-other',
  'ai-sdk',
  'browser',
  'curl',
  'other',
] as const;

export type ClientFamily = (typeof CLIENT_FAMILIES)[number];

/** @returns whether a user agent is that of the Vercel AI SDK */
export function isAiSdkUserAgent(userAgent: string): boolean {
  return AI_SDK.test(userAgent);
}

/** @returns the kind of client that sends a request, by its own statement. Any client can claim to be another one */
export function identifyClientFamily(headers: Headers): ClientFamily {
  const userAgent = headers.get('user-agent') ?? '';
  // Check for Claude Code first, because it uses the TypeScript SDK. Then prefer the SDK’s own header to the user agent, which
  // a page in a browser cannot set.
  if (/^(claude-cli|claude-code)\//i.test(userAgent)) return 'claude-code';
  const language = headers.get('x-stainless-lang') ?? OFFICIAL_SDK.exec(userAgent)?.[1];
  if (language) return toSdkFamily(language.toLowerCase());
  if (isAiSdkUserAgent(userAgent)) return 'ai-sdk';
  if (/^mozilla\//i.test(userAgent)) return 'browser';
  return /^curl\//i.test(userAgent) ? 'curl' : 'other';
}

function toSdkFamily(language: string): ClientFamily {
  if (language === 'js') return 'anthropic-sdk-typescript';
  return language === 'python' ? 'anthropic-sdk-python' : 'anthropic-sdk-other';
}
