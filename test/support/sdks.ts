import AnthropicCurrent from '@anthropic-ai/sdk';
import AnthropicOld from 'anthropic-sdk-0';

/** The official SDKs that a client may still have, by what tests call them. */
export const SDKS = [
  ['the SDK', AnthropicCurrent],
  // Its methods have the same forms; of two classes the compiler finds no common one.
  ['the SDK of long ago', AnthropicOld as unknown as typeof AnthropicCurrent],
] as const;
