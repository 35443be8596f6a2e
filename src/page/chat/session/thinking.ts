/** Turns thinking on or off, in the form that the model supports. */
import type { ThinkingConfigParam } from '@anthropic-ai/sdk/resources/messages';
import type { ListedModel } from '../../edge/models.ts';

/** Who decides whether the next answer begins with thinking: the model, or a person. */
export type ThinkingMode = 'model' | 'on' | 'off';

/** Tokens for thinking, where a model takes nothing but a number of them. The API takes no fewer. */
const MIN_BUDGET_TOKENS = 1_024;

/** @returns whether thinking can be turned off for a model; true for a model that the edge does not know */
export function canDisableThinking(model: ListedModel | undefined): boolean {
  return model?.thinking?.default !== 'always';
}

/**
 * @param maxAnswerTokens the longest answer, in tokens, without its thinking if a model has a separate limit for that
 * @returns the fields of the request; `thinking` is missing if the model decides
 */
export function createThinkingRequestFields(
  choice: ThinkingMode,
  model: ListedModel | undefined,
  maxAnswerTokens: number,
): { max_tokens: number; thinking?: ThinkingConfigParam } {
  const types: readonly string[] = model?.thinking?.types ?? ['adaptive', 'disabled'];
  if (choice === 'on') {
    return types.includes('adaptive')
      ? { max_tokens: maxAnswerTokens, thinking: { type: 'adaptive', display: 'summarized' } }
      : {
          max_tokens: maxAnswerTokens + MIN_BUDGET_TOKENS,
          thinking: { type: 'enabled', budget_tokens: MIN_BUDGET_TOKENS },
        };
  }
  if (choice === 'model' || !canDisableThinking(model)) return { max_tokens: maxAnswerTokens };
  return { max_tokens: maxAnswerTokens, thinking: { type: types.includes('disabled') ? 'disabled' : 'between_tools' } };
}
