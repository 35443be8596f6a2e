import { effect, signal } from '@preact/signals';
import { applyTheme, storedTheme, THEME_KEY, THEMES, type Theme } from './stored-theme.ts';

export const theme = signal<Theme>(storedTheme());

/** Switches to the next theme: light, dark, the system's. */
export function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? 'system';
  localStorage.setItem(THEME_KEY, theme.value);
}

/** Applies the theme, now and whenever it changes. */
export function showTheme(): void {
  effect(() => applyTheme(theme.value));
}
