import type { Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';

interface FormProps {
  id?: string;
  class?: string;
  onSubmit(data: FormData): void;
  children: ComponentChildren;
}

/** Shows a form whose fields are handed to a function instead of being sent. */
export function Form({ id, class: name = 'stack', onSubmit, children }: FormProps) {
  return (
    <form
      id={id}
      class={name}
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit(new FormData(event.currentTarget));
      }}
    >
      {children}
    </form>
  );
}

interface SubmitButtonProps {
  name: string;
  disabled?: boolean;
  kind?: '' | 'plain' | 'small';
}

/**
 * Submits a form. If it was pressed by the keyboard, it gets the focus again at the end, because a disabled button loses the
 * focus.
 */
export function SubmitButton({ name, disabled = false, kind = '' }: SubmitButtonProps) {
  const button = useRef<HTMLButtonElement>(null);
  const wasPressed = useRef(false);
  useEffect(() => {
    if (disabled || !wasPressed.current) return;
    wasPressed.current = false;
    if (document.activeElement === document.body) button.current?.focus();
  }, [disabled]);
  const recordPress = () => (wasPressed.current = document.activeElement === button.current);
  return (
    <button ref={button} type="submit" class={`button ${kind}`} disabled={disabled} onClick={recordPress}>
      {name}
    </button>
  );
}

/** Connects a field with its label, and with what is said about it. */
interface FieldAttributes {
  id: string;
  'aria-invalid': boolean;
  'aria-describedby': string | undefined;
}

interface FieldProps {
  label: string;
  note?: ComponentChildren;
  fault?: string | undefined;
  /** Whether it takes two columns among other fields, because its text is long. */
  isWide?: boolean;
  /** @param ids what the field itself must have */
  children(ids: FieldAttributes): ComponentChildren;
}

/** Shows a field under its label; below it a note, and its error. A field with an error gets the focus. */
export function Field({ label, note, fault, isWide = false, children }: FieldProps) {
  const id = useId();
  useEffect(() => {
    if (fault !== undefined) document.getElementById(id)?.focus();
  }, [fault, id]);
  const about = [note !== undefined && `${id}-note`, fault !== undefined && `${id}-fault`].filter(Boolean).join(' ');
  return (
    <div class={isWide ? 'labelled wide' : 'labelled'}>
      <label for={id}>{label}</label>
      {children({ id, 'aria-invalid': fault !== undefined, 'aria-describedby': about || undefined })}
      {note !== undefined && (
        <span class="quiet" id={`${id}-note`}>
          {note}
        </span>
      )}
      {fault !== undefined && (
        <span class="field-fault" id={`${id}-fault`} role="alert">
          {fault}
        </span>
      )}
    </div>
  );
}

interface TextAreaProps {
  label: string;
  rows: number;
  placeholder?: string;
  value: Signal<string>;
}

/** Shows a field for lines of text, which sets a signal. */
export function TextArea({ label, rows, placeholder, value }: TextAreaProps) {
  return (
    <Field label={label}>
      {(ids) => (
        <textarea
          {...ids}
          rows={rows}
          required
          placeholder={placeholder}
          value={value.value}
          onInput={(event) => (value.value = event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

interface SelectProps extends Partial<FieldAttributes> {
  /** The name for screen readers, if there is no label beside it. */
  label?: string;
  disabled?: boolean;
  value: string | number | undefined;
  /** The values to choose from; one whose text differs stands with it. */
  options: readonly (string | readonly [value: string | number, text: string])[];
  onChoose(value: string): void;
}

export function Select({ label, value, options, onChoose, ...rest }: SelectProps) {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChoose(event.currentTarget.value)} {...rest}>
      {options.map((option) => {
        const [key, text] = typeof option === 'string' ? [option, option] : option;
        return (
          <option key={key} value={key}>
            {text}
          </option>
        );
      })}
    </select>
  );
}

interface CheckboxProps {
  name: string;
  value: Signal<boolean>;
  note?: string;
  /** It has no effect now, and keeps its value. */
  disabled?: boolean;
}

export function CheckboxChip({ name, value, note, disabled = false }: CheckboxProps) {
  const id = useId();
  const chip = (
    <label class="chip">
      <input
        type="checkbox"
        checked={value.value && !disabled}
        disabled={disabled}
        aria-describedby={note && id}
        onChange={(event) => (value.value = event.currentTarget.checked)}
      />
      {name}
    </label>
  );
  if (note === undefined) return chip;
  return (
    <div class="option">
      {chip}
      <span id={id} class="quiet">
        {note}
      </span>
    </div>
  );
}
