import { commaSeparated } from '../../../kit/http/headers/comma-list.ts';
import * as z from '../../../kit/http/zod.ts';
import { fallbackModels } from '../../../money/budget/limits.schema.ts';
import type { CopiedRows } from '../../../talk/storage/copied-rows.ts';
import type { Room } from '../../room.ts';
import { agentsRoom } from '../room.ts';
import { checkChoice, chooseForMessage } from './choose-model.ts';
import { OF_CHOICE } from './chosen-by.schema.ts';
import { ModelChooser } from './model-chooser.ts';

/** How models were chosen, as a rewind leaves it, and a copy has it. */
const KEPT_CHOICES: CopiedRows = {
  keep({ choices, asksAgain }, { last, isCut, shift }) {
    if (!choices) return {};
    const again = isCut ? choices.length > 0 : asksAgain;
    const kept = choices.filter(({ turn }) => turn <= last).map((one) => ({ ...one, turn: one.turn + shift }));
    return { choices: kept, ...(again && { asksAgain: true }) };
  },
};

/** For the reference alone: no Worker has them in it. */
export const CHOICE_HEADER_WORDS = {
  'sluice-model-chosen':
    'Where the agent chooses its model: the one that it has chosen, then `arm`, `why`, the `label` (percent-encoded) and the version of the `classifier`.',
};

/** The choice of a model, by a label or a budget. */
export const choiceRoom: Room = {
  name: 'choice',
  needs: [agentsRoom],
  choice: { check: checkChoice, choose: chooseForMessage },
  conversation: { open: (context) => new ModelChooser(context) },
  copied: KEPT_CHOICES,
  dimensions: [OF_CHOICE],
  headers: ['sluice-model-chosen'],
  members: {
    model: {
      schema: z.string(),
      header: 'sluice-model',
      ofHeader: (text) => text,
    },
    // None: the request wants no fallback.
    fallback_models: {
      schema: z
        .array(z.string())
        .check(
          z.refine((names) => fallbackModels.safeParse(names).success, 'at most five models, separated by commas.'),
        ),
      header: 'sluice-fallback-models',
      ofHeader: commaSeparated,
    },
  },
};
