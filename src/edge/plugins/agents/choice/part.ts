import type { RequestFieldDefinitions } from '../../../claude/request/field-definition.ts';
import type { CopyableRows } from '../../../conversations/history/storage/copyable-rows.ts';
import type { ConversationPlugin } from '../../../conversations/object/hooks.ts';
import { parseCommaList } from '../../../kit/http/headers/comma-list.ts';
import * as z from '../../../kit/http/zod.ts';
import { fallbackModels } from '../../../money/budget/limits.schema.ts';
import { ModelChooser } from './model-chooser.ts';

/** The model choice in a conversation's object. */
export const choicePart: ConversationPlugin = { createHooks: (conversation) => new ModelChooser(conversation) };

/** How models were chosen, as a rewind leaves it, and a copy has it. */
export const KEPT_CHOICES: CopyableRows = {
  keep({ choices, asksAgain }, { last, isCut, shift }) {
    if (!choices) return {};
    const again = isCut ? choices.length > 0 : asksAgain;
    const copied = choices.filter(({ turn }) => turn <= last).map((one) => ({ ...one, turn: one.turn + shift }));
    return { choices: copied, ...(again && { asksAgain: true }) };
  },
};

/** The parameters of a request that choose among an agent's models. */
export const MODEL_MEMBERS: RequestFieldDefinitions = {
  model: {
    schema: z.string(),
    header: 'sluice-model',
    ofHeader: (text) => text,
  },
  // Accept an empty list, which turns fallback models off for the request.
  fallback_models: {
    schema: z
      .array(z.string())
      .check(z.refine((names) => fallbackModels.safeParse(names).success, 'at most five models, separated by commas.')),
    header: 'sluice-fallback-models',
    ofHeader: parseCommaList,
  },
};
