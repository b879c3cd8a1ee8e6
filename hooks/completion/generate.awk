# SPDX-License-Identifier: MIT
# Completion for a shell, made of the text of --help in stage/opts.c, so that it cannot tell of other commands and options than the
# binary:    awk -v shell=bash|zsh|fish -f hooks/completion/generate.awk stage/opts.c
#
# What is read there:
#   "  check          what it is"                        a command
#   "  -f, --full     what it is"                        an option, by all its names
#   "  --json FILE    what it is"                        one with a value; FILE and PLACE are files, DIR is a directory
#   "  --name   boot, record: what it is"                one of these commands only
# A line that begins further to the right goes on with the one before.

function add(names, text,   n, i, part, verbs) {
	options++
	split("", part)
	n = split(names, part, ", ")
	for (i = 1; i <= n; i++) {
		split(part[i], both, " ")
		name[options, i] = both[1]
		if (both[2] != "")
			value[options] = both[2]
	}
	count[options] = n
	about[options] = text
}
function is_verb(word,   i) {
	for (i = 1; i <= verbs; i++)
		if (verb[i] == word)
			return 1
	return 0
}
# "record: from the first change" is for record: said in only[]
function note_verbs(o,   at, words, n, i) {
	at = index(about[o], ": ")
	if (!at)
		return
	n = split(substr(about[o], 1, at - 1), words, /, | and /)
	for (i = 1; i <= n; i++)
		if (!is_verb(words[i]))
			return
	for (i = 1; i <= n; i++)
		only[o] = only[o] (i > 1 ? " " : "") words[i]
	about[o] = substr(about[o], at + 2)
}
function line(text,   at, names) {
	if (match(text, /^  [a-z-]+  +/) && text !~ /^ +-/) {
		verb[++verbs] = substr(text, 3, index(substr(text, 3), " ") - 1)
		meaning[verbs] = substr(text, RLENGTH + 1)
	} else if (text ~ /^ +-/) {
		sub(/^ +/, "", text)
		if ((at = match(text, /  +/)) || (at = match(text, /[A-Z] [a-z]/) ? RSTART + 1 : 0)) {
			names = substr(text, 1, at - 1)
			sub(/^ +/, "", text)
			text = substr(text, at)
			sub(/^ +/, "", text)
			add(names, text)
		} else
			add(text, "")
		open = 1
	} else if (text ~ /^          +[^ ]/ && open) {
		sub(/^ +/, "", text)
		about[options] = about[options] (about[options] == "" ? "" : " ") text
	} else
		open = 0
}
/opts_help\[\] =/ { inside = 1; next }
inside {
	text = $0
	sub(/^[ \t]*"/, "", text)
	end = text ~ /";[ \t]*$/
	sub(/";?[ \t]*$/, "", text)
	sub(/\\n$/, "", text)
	gsub(/\\"/, "\"", text)
	line(text)
	if (end)
		inside = 0
}

function kind(o) {
	if (value[o] == "FILE" || value[o] == "PLACE")
		return "file"
	if (value[o] == "DIR")
		return "directory"
	return value[o] == "" ? "" : "other"
}
# names of the options that are of a kind, or that a command alone has; between them what is said
function named(of, what, between,   o, i, out) {
	for (o = 1; o <= options; o++)
		if (of == "kind" ? kind(o) == what : only[o] == what)
			for (i = 1; i <= count[o]; i++)
				out = out (out == "" ? "" : between) name[o, i]
	return out
}
function all_verbs(   i, out) {
	for (i = 1; i <= verbs; i++)
		out = out (i > 1 ? " " : "") verb[i]
	return out
}
function quoted(text) {
	gsub(/'/, "'\\''", text)
	return "'" text "'"
}

function bash(   o, i, v, extra) {
	print "_containerd_fsck() {"
	print "	local cur=${COMP_WORDS[COMP_CWORD]} prev='' verb='' words=() i"
	print "	COMPREPLY=()"
	print "	# a shell that cuts words at = has it as a word of its own"
	print "	((COMP_CWORD)) && prev=${COMP_WORDS[COMP_CWORD - 1]}"
	print "	[[ $cur != = ]] || cur="
	print "	[[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}"
	print "	for ((i = 1; i < COMP_CWORD; i++)); do"
	print "		case ${COMP_WORDS[i]} in"
	print "		" named("kind", "file", "|") "|" named("kind", "directory", "|") "|" named("kind", "other", "|") ") ((i++)); [[ ${COMP_WORDS[i]} != = ]] || ((i++)) ;;"
	print "		-*) ;;"
	print "		*) verb=${COMP_WORDS[i]}; break ;;"
	print "		esac"
	print "	done"
	print "	case $prev in"
	print "	" named("kind", "file", "|") ") compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;"
	print "	" named("kind", "directory", "|") ") compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); return ;;"
	print "	" named("kind", "other", "|") ") return ;;"
	print "	esac"
	print "	if [[ $cur == -* ]]; then"
	print "		words=(" named("verb", "", " ") ")"
	print "		case $verb in"
	for (v = 1; v <= verbs; v++) {
		extra = ""
		for (o = 1; o <= options; o++)
			if (index(" " only[o] " ", " " verb[v] " "))
				for (i = 1; i <= count[o]; i++)
					extra = extra " " name[o, i]
		if (extra != "")
			print "		" verb[v] ") words+=(" substr(extra, 2) ") ;;"
	}
	print "		esac"
	print "	elif [[ -z $verb && ${COMP_WORDS[0]##*/} != fsck.containerd ]]; then"
	print "		words=(" all_verbs() ")"
	print "	fi"
	print "	mapfile -t COMPREPLY < <(compgen -W \"${words[*]}\" -- \"$cur\")"
	print "	[[ $cur == -* || ${#COMPREPLY[@]} -gt 0 && -n $cur ]] || {"
	print "		compopt -o filenames 2>/dev/null"
	print "		mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -d -- \"$cur\")"
	print "	}"
	print "}"
	print "complete -F _containerd_fsck containerd-fsck fsck.containerd"
}
function zsh_text(text) {
	gsub(/[][\\:]/, "\\\\&", text)
	return text
}
function zsh(   o, i, v, spec, list) {
	print "local context state state_descr line ret=1"
	print "typeset -A opt_args"
	print "local -a commands specs"
	print "commands=("
	for (v = 1; v <= verbs; v++)
		print "	" quoted(zsh_text(verb[v]) ":" meaning[v])
	print ")"
	print "specs=("
	for (v = 0; v <= verbs; v++) {
		if (v)
			list = ""
		for (o = 1; o <= options; o++) {
			if (v ? !index(" " only[o] " ", " " verb[v] " ") : only[o] != "")
				continue
			for (i = 1; i <= count[o]; i++) {
				spec = name[o, i] (value[o] == "" ? "" : length(name[o, i]) > 2 ? "=" : "+") "[" zsh_text(about[o]) "]"
				if (value[o] != "")
					spec = spec ":" tolower(value[o]) ":" (kind(o) == "file" ? "_files" : kind(o) == "directory" ? "_files -/" : " ")
				if (v)
					list = list " " quoted(spec)
				else
					print "	" quoted(spec)
			}
		}
		if (!v)
			print ")"
		else if (list != "")
			print "(( ${words[(I)" verb[v] "]} )) && specs+=(" substr(list, 2) ")"
	}
	print "_arguments -s -S -C $specs '1: :->first' '*:root:_files -/' && ret=0"
	print "if [[ $state = first ]]; then"
	print "	[[ $service = fsck.containerd ]] || _describe -t commands command commands && ret=0"
	print "	_files -/ && ret=0"
	print "fi"
	print "return ret"
}
function fish(   o, i, v, p, rule, programs) {
	split("containerd-fsck fsck.containerd", programs, " ")
	print "function __containerd_fsck_no_command"
	print "	not __fish_seen_subcommand_from " all_verbs()
	print "end"
	for (p = 1; p <= 2; p++) {
		print "complete -c " programs[p] " -f -a '(__fish_complete_directories)'"
		for (v = 1; v <= verbs && p == 1; v++)
			print "complete -c " programs[p] " -n __containerd_fsck_no_command -a " verb[v] " -d " quoted(meaning[v])
		for (o = 1; o <= options; o++) {
			rule = "complete -c " programs[p]
			if (only[o] != "")
				rule = rule " -n '__fish_seen_subcommand_from " only[o] "'"
			for (i = 1; i <= count[o]; i++)
				rule = rule (length(name[o, i]) > 2 ? " -l " substr(name[o, i], 3) : " -s " substr(name[o, i], 2))
			if (value[o] != "")
				rule = rule (kind(o) == "file" ? " -r -F" : kind(o) == "directory" ? " -x -a '(__fish_complete_directories)'" : " -x")
			print rule " -d " quoted(about[o])
		}
	}
}
END {
	if (!verbs || !options) {
		print "generate.awk: no text of --help" >"/dev/stderr"
		exit 1
	}
	for (o = 1; o <= options; o++)
		note_verbs(o)
	if (shell == "zsh")
		print "#compdef containerd-fsck fsck.containerd"
	print "# SPDX-License-Identifier: MIT"
	print "# Completion of containerd-fsck(8) for " shell ", made of its --help by hooks/completion/generate.awk."
	if (shell == "bash")
		bash()
	else if (shell == "zsh")
		zsh()
	else if (shell == "fish")
		fish()
}
