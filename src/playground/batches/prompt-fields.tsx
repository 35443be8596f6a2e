import { chooseModel, model, models } from '../edge/models.ts';
import { Select, TextArea } from '../ui/form.tsx';
import { answerTokens, idColumn, systemText, template } from './draft.ts';
import { fillTemplate, templateOf } from './template.ts';
import type { RowsUpload } from './upload.ts';

const PREVIEW_CHARACTERS = 600;

/** Asks how a row becomes a request. */
export function PromptFields({ upload: { columns, rows } }: { upload: RowsUpload }) {
  const filled = templateOf(template.value, columns);
  return (
    <>
      <TextArea
        label={`Prompt for each row; ${columns.map((name) => `{{${name}}}`).join(', ')} ${columns.length === 1 ? 'is its text' : 'are its texts'}`}
        rows={4}
        placeholder={`Summarize this:\n\n{{${columns[0]}}}`}
        value={template}
      />
      <label class="labelled">
        System prompt, if you want one
        <textarea
          rows={2}
          value={systemText.value}
          onInput={(event) => (systemText.value = event.currentTarget.value)}
        />
      </label>
      <div class="fields">
        <label class="labelled">
          Model
          <Select
            value={model.value?.id}
            options={models.value.map(({ id, display_name }) => [id, display_name] as const)}
            onChoose={chooseModel}
          />
        </label>
        <label class="labelled">
          Most tokens of an answer
          <input
            type="number"
            min={1}
            max={model.value?.max_tokens ?? undefined}
            required
            value={answerTokens.value}
            onInput={(event) => (answerTokens.value = event.currentTarget.valueAsNumber)}
          />
        </label>
        <label class="labelled">
          Id of a request
          <Select
            value={idColumn.value}
            options={[['', 'The number of its row'], ...columns]}
            onChoose={(name) => (idColumn.value = name)}
          />
        </label>
      </div>
      <figure class="first-prompt">
        <figcaption class="quiet">The first row asks</figcaption>
        <p class={typeof filled === 'string' ? 'quiet' : undefined}>
          {typeof filled === 'string' ? filled : fillTemplate(filled, rows[0] ?? []).slice(0, PREVIEW_CHARACTERS)}
        </p>
      </figure>
    </>
  );
}
