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
        label={`Prompt for each row, with ${columns.map((name) => `{{${name}}}`).join(', ')}`}
        rows={4}
        placeholder={`Summarize this:\n\n{{${columns[0]}}}`}
        value={template}
      />
      <TextArea label="System prompt (optional)" rows={2} required={false} value={systemText} />
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
          Longest answer, in tokens
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
          Request id
          <Select
            value={idColumn.value}
            options={[['', 'Row number'], ...columns]}
            onChoose={(name) => (idColumn.value = name)}
          />
        </label>
      </div>
      <figure class="first-prompt">
        <figcaption class="quiet">The first request</figcaption>
        <p class={typeof filled === 'string' ? 'quiet' : undefined}>
          {typeof filled === 'string' ? filled : fillTemplate(filled, rows[0] ?? []).slice(0, PREVIEW_CHARACTERS)}
        </p>
      </figure>
    </>
  );
}
